import { createHmac } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { checkClaims, isIdentifier, type TokenRules } from '../../lib/token/token-rules.js';
import type { VerifiedToken } from '../../lib/token/verified-token.js';
import { FakeClock } from '../support/fake-clock.js';
import { MemoryStore } from '../support/memory-store.js';
import { assembled, ending, KEYS, keysOf, storeKeys } from '../support/setup.js';

const NOW = 1_800_000_000_000;
const SECONDS = NOW / 1000;
const TOLERANCE = 5_000;
const LIFETIME = 900_000;

const rules: TokenRules = {
  issuer: undefined,
  audience: undefined,
  clockTolerance: TOLERANCE,
  longestLifetime: LIFETIME,
  scopeClaims: [],
};

const payload = (changes: Record<string, unknown> = {}): Record<string, unknown> => ({
  sub: 'alice',
  jti: 'j',
  sid: 's',
  iat: SECONDS,
  exp: SECONDS + 900,
  auth_time: SECONDS,
  seen: { epoch: 'e' },
  ...changes,
});

const check = (
  changes: Record<string, unknown>,
  { now = NOW, ...special }: Partial<TokenRules> & { now?: number } = {},
) => ending((async () => checkClaims(payload(changes), { ...rules, ...special }, now))());

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const token = (header: unknown, body: unknown = payload()) =>
  `${encode(header)}.${encode(body)}.c2lnbmF0dXJl`;
/** A service whose only key has this name, or none. */
const form = (text: string, { kid }: { kid?: string } = {}) =>
  ending(
    (async () => {
      const keys = await keysOf({ ...KEYS, ...(kid !== undefined && { kid }) });
      const { verifier } = assembled({}, { keys });
      await verifier.keyFor(verifier.inspect(text));
    })(),
  );

const HEADER = { alg: 'HS256', typ: 'at+jwt' };

describe('before the signature is checked', () => {
  it('a token with the expected header passes', async () => {
    expect(await form(token(HEADER))).toBe('ok');
    expect(await form(token({ ...HEADER, kid: 'k' }), { kid: 'k' })).toBe('ok');
  });

  it.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+jwt'])(
    'the type %p is this one',
    async (typ) => {
      expect(await form(token({ ...HEADER, typ }))).toBe('ok');
    },
  );

  it.each([
    ['JWT'],
    ['jwt'],
    ['next+jwt'],
    ['at+jwt '],
    ['text/at+jwt'],
    ['application/application/at+jwt'],
    [''],
    [undefined],
    [null],
    [5],
    [['at+jwt']],
  ])('the type %j is another one', async (typ) => {
    expect(await form(token({ ...HEADER, typ }))).toBe('TOKEN_INVALID');
  });

  it.each([
    ['none'],
    ['None'],
    ['hs256'],
    ['HS384'],
    ['RS256'],
    ['ES256'],
    [''],
    [undefined],
    [null],
    [['HS256']],
  ])('the algorithm %j is not accepted', async (alg) => {
    expect(await form(token({ ...HEADER, alg }))).toBe('TOKEN_INVALID');
  });

  it.each([
    { crit: [] },
    { crit: ['exp'], exp: 1 },
    { crit: null },
    { jku: 'https://evil.example/keys' },
    { jwk: { kty: 'oct', k: 'AA' } },
    { x5u: 'https://evil.example/cert' },
    { x5c: ['AA'] },
    { kid: 'unknown' },
    { kid: '' },
    { kid: null },
  ])('a header with %j is refused', async (member) => {
    expect(await form(token({ ...HEADER, ...member }))).toBe('TOKEN_INVALID');
  });

  it.each([[undefined], ['other'], [''], [5], [['k']]])(
    'the key %j is not the one with the kid',
    async (kid) => {
      expect(await form(token({ ...HEADER, kid }), { kid: 'k' })).toBe('TOKEN_INVALID');
    },
  );

  const whole = token(HEADER);
  const [head = '', body = '', signature = ''] = whole.split('.');
  it.each([
    ['nothing', ''],
    ['one part', head],
    ['two parts', `${head}.${body}`],
    ['no signature', `${head}.${body}.`],
    ['four parts', `${whole}.${signature}`],
    ['five parts (a JWE)', `${whole}.a.b`],
    ['an empty header', `.${body}.${signature}`],
    ['an empty payload', `${head}..${signature}`],
    ['a space before it', ` ${whole}`],
    ['a space after it', `${whole} `],
    ['a line break after it', `${whole}\n`],
    ['padding', `${head}=.${body}.${signature}`],
    ['base64 instead of base64url', `${head}.${body}.a+/b`],
    ['NUL', `${head}.${body}.\0`],
    ['letters of another alphabet', `${head}.${body}.ａｂ`],
    ['a header that is not JSON', `${encode('{')}.${body}.${signature}`],
    ['a header that is a list', token([HEADER])],
    ['a header that is null', token(null)],
    ['a header that is a string', token('"x"')],
  ])('%s is refused', async (_, text) => {
    expect(await form(text)).toBe('TOKEN_INVALID');
  });

  const bytes = (...values: number[]) => Buffer.from(values).toString('base64url');
  /** The same bytes, written as an encoder does not. */
  const sloppy = (part: string) => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const written = alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1];
    return `${part.slice(0, -1)}${written}`;
  };
  const spaced = (value: unknown, rest: number) => {
    const text = JSON.stringify(value);
    return encode(text.padEnd(text.length + ((rest - (text.length % 3) + 3) % 3)));
  };
  it.each([
    ['a header', (rest: number) => [spaced(HEADER, rest), body, signature]],
    ['a payload', (rest: number) => [head, spaced(payload(), rest), signature]],
    ['a signature', (rest: number) => [head, body, encode('x'.repeat(30 + rest))]],
  ])('%s that no encoder writes like that is refused (RFC 4648 §3.5)', async (name, parts) => {
    const index = ['a header', 'a payload', 'a signature'].indexOf(name);
    for (const rest of [0, 1, 2]) {
      const good = parts(rest);
      expect(await form(good.join('.'))).toBe('ok');
      const part = good[index] as string;
      // A character more than whole bytes take, where there is room for one; bits that say nothing.
      const bad = rest === 0 ? [`${part}A`, `${part}_`] : [sloppy(part)];
      for (const text of bad) {
        expect(Buffer.from(text, 'base64url')).toEqual(Buffer.from(part, 'base64url'));
        expect(await form(good.with(index, text).join('.'))).toBe('TOKEN_INVALID');
      }
    }
  });

  it.each([
    ['a byte alone', [0xff]],
    ['half a character', [0xc3]],
    ['a character that is too long', [0xc0, 0xaf]],
    ['half a surrogate pair', [0xed, 0xa0, 0x80]],
    ['UTF-16', [0x22, 0xfe]],
  ])('what is not UTF-8 is refused (RFC 7515 §5.2): %s', async (_, text) => {
    const member = (object: object) => [...Buffer.from(JSON.stringify(object).slice(0, -1))];
    const json = (object: object, ...inner: number[]) =>
      bytes(...member(object), ...Buffer.from(',"x":"'), ...inner, ...Buffer.from('"}'));
    const [e, acute] = Buffer.from('é');
    const sound = [e as number, acute as number];
    const of = (inHeader: number[], inPayload: number[]) =>
      form(`${json(HEADER, ...inHeader)}.${json(payload(), ...inPayload)}.${signature}`);
    expect(await of(sound, sound)).toBe('ok');
    expect(await of(text, sound)).toBe('TOKEN_INVALID');
    expect(await of(sound, text)).toBe('TOKEN_INVALID');
  });

  it('a byte order mark is refused', async () => {
    const mark = [0xef, 0xbb, 0xbf];
    const text = bytes(...mark, ...Buffer.from(JSON.stringify(payload())));
    expect(await form(`${head}.${text}.${signature}`)).toBe('TOKEN_INVALID');
  });

  it('what is nested too deeply is refused, in the header, too', async () => {
    const nested = (levels: number) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
    expect(await form(token(HEADER, payload({ deep: nested(60) })))).toBe('ok');
    for (const levels of [80, 2_000]) {
      expect(await form(token(HEADER, payload({ deep: nested(levels) })))).toBe('TOKEN_INVALID');
      expect(await form(token({ ...HEADER, deep: nested(levels) }))).toBe('TOKEN_INVALID');
    }
  });

  it.each(['null', '[]', '"text"', '5', 'true', 'not JSON', '', '{"a":1', '\ud800'])(
    'the payload %j is refused',
    async (text) => {
      expect(await form(token(HEADER, text))).toBe('TOKEN_INVALID');
    },
  );

  it('a megabyte of anything is refused soon', async () => {
    const started = performance.now();
    expect(await form('a'.repeat(1_000_000))).toBe('TOKEN_INVALID');
    expect(await form(`${'a'.repeat(1_000_000)}.`)).toBe('TOKEN_INVALID');
    expect(await form(`${'a.'.repeat(500_000)}`)).toBe('TOKEN_INVALID');
    expect(await form(token(HEADER, `${'['.repeat(100_000)}`))).toBe('TOKEN_INVALID');
    expect(await form(token(HEADER, `${'['.repeat(100_000)}${']'.repeat(100_000)}`))).toBe(
      'TOKEN_INVALID',
    );
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

describe('a correctly signed payload', () => {
  it('is taken as it is', () => {
    const claims = payload({ plan: 'free', nbf: SECONDS });
    expect(checkClaims(claims, rules, NOW)).toBe(claims);
  });

  it.each([[null], [[]], ['text'], [5], [undefined], [true]])('that is %j is refused', (value) => {
    expect(() => checkClaims(value, rules, NOW)).toThrow(
      expect.objectContaining({ code: 'TOKEN_INVALID' }),
    );
  });

  const NO_IDS = [undefined, null, '', 5, true, {}, [], ['a'], '\0', 'a\0b', '\ud800', 'a\udc00'];
  for (const name of ['sub', 'jti', 'sid']) {
    it.each(NO_IDS.map((value) => [value]))(`with ${name} %j is refused`, async (value) => {
      expect(await check({ [name]: value })).toBe('TOKEN_INVALID');
    });
  }

  const NO_TIMES = [
    null,
    '',
    `${SECONDS}`,
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    2 ** 53,
    {},
    [SECONDS],
  ];
  for (const name of ['exp', 'iat', 'auth_time', 'nbf']) {
    it.each(NO_TIMES.map((value) => [value]))(`with ${name} %p is refused`, async (value) => {
      expect(await check({ [name]: value })).toBe('TOKEN_INVALID');
    });
  }
  it.each(['exp', 'iat', 'auth_time'])('without %s is refused', async (name) => {
    expect(await check({ [name]: undefined })).toBe('TOKEN_INVALID');
  });

  it.each([
    [undefined],
    [null],
    ['e'],
    [[]],
    [{}],
    [{ epoch: 5 }],
    [{ epoch: null }],
    [{ epoch: 'e', stale: 'm' }],
    [{ epoch: 'e', stale: [5] }],
    [{ epoch: 'e', stale: { 0: 'm', includes: 1 } }],
    [{ epoch: 'e', revoked: null }],
    [{ epoch: 'e', revoked: [null] }],
    [{ epoch: 'e', until: 'soon' }],
    [{ epoch: 'e', until: -1 }],
    [{ epoch: 'e', until: null }],
    [{ epoch: 'e', prev: 5 }],
    [{ epoch: 'e', prev: '' }],
  ])('with seen %j is refused', async (seen) => {
    expect(await check({ seen })).toBe('TOKEN_INVALID');
  });

  it('may carry what it has seen', async () => {
    const seen = { epoch: 'e', stale: ['m'], revoked: ['n', 'o'], until: NOW, prev: 'p' };
    expect(await check({ seen })).toBe('ok');
    expect(await check({ seen: { epoch: 'e', stale: [], revoked: [] } })).toBe('ok');
  });

  it.each([[{}], [true], [''], ['\0'], [['a', {}]], [['a', '']], [[['a']]]])(
    'with %j where a scope should be is refused: it could not be revoked',
    async (tenant) => {
      expect(await check({ tenant }, { scopeClaims: ['tenant'] })).toBe('TOKEN_INVALID');
      expect(await check({ tenant })).toBe('ok');
    },
  );

  it.each([['acme'], [5], [['a', 5]], [[]], [null], [undefined]])(
    'with %j where a scope may be passes',
    async (tenant) => {
      expect(await check({ tenant }, { scopeClaims: ['tenant'] })).toBe('ok');
    },
  );

  it.each([
    ['here', 'here', 'ok'],
    ['here', 'elsewhere', 'TOKEN_INVALID'],
    ['here', 'here ', 'TOKEN_INVALID'],
    ['here', undefined, 'TOKEN_INVALID'],
    ['here', ['here'], 'TOKEN_INVALID'],
    ['here', '', 'TOKEN_INVALID'],
    [undefined, undefined, 'ok'],
    [undefined, 'anybody', 'TOKEN_INVALID'],
    [undefined, '', 'TOKEN_INVALID'],
    [undefined, null, 'TOKEN_INVALID'],
    ['*', 'anybody', 'ok'],
    ['*', undefined, 'ok'],
  ])('for the issuer %j with iss %j: %s', async (issuer, iss, expected) => {
    expect(await check({ iss }, { issuer })).toBe(expected);
  });

  it.each([
    [['a'], 'a', 'ok'],
    [['a'], ['b', 'a'], 'ok'],
    [['a', 'b'], 'b', 'ok'],
    [['a'], 'b', 'TOKEN_INVALID'],
    [['a'], ['b'], 'TOKEN_INVALID'],
    [['a'], [], 'TOKEN_INVALID'],
    [['a'], undefined, 'TOKEN_INVALID'],
    [['a'], '', 'TOKEN_INVALID'],
    [['a'], { a: 1 }, 'TOKEN_INVALID'],
    [['a'], [['a']], 'TOKEN_INVALID'],
    [undefined, undefined, 'ok'],
    [undefined, 'anything', 'TOKEN_INVALID'],
    [undefined, ['anything'], 'TOKEN_INVALID'],
    [undefined, [], 'TOKEN_INVALID'],
    [undefined, [undefined], 'TOKEN_INVALID'],
    [undefined, null, 'TOKEN_INVALID'],
    ['*', 'anything', 'ok'],
    ['*', undefined, 'ok'],
    [['a'], '*', 'TOKEN_INVALID'],
  ] as const)('for the audience %j with aud %j: %s', async (audience, aud, expected) => {
    expect(await check({ aud }, { audience })).toBe(expected);
  });
});

describe('the times of a token', () => {
  const OFFSETS = [-1, 0, 1];

  it.each(OFFSETS)('exp and tolerance, %p ms after the end', async (offset) => {
    const end = (SECONDS + 900) * 1000 + TOLERANCE;
    expect(await check({}, { now: end + offset })).toBe(offset < 0 ? 'ok' : 'TOKEN_EXPIRED');
  });

  it.each(OFFSETS)('exp without tolerance, %p ms after the end', async (offset) => {
    const end = (SECONDS + 900) * 1000;
    expect(await check({}, { now: end + offset, clockTolerance: 0 })).toBe(
      offset < 0 ? 'ok' : 'TOKEN_EXPIRED',
    );
  });

  it.each(OFFSETS)('nbf, %p ms after its tolerance begins', async (offset) => {
    const now = NOW + offset;
    const nbf = (NOW + TOLERANCE) / 1000;
    expect(await check({ nbf }, { now })).toBe(offset < 0 ? 'TOKEN_INVALID' : 'ok');
  });

  it.each(OFFSETS)('iat, %p ms after its tolerance begins', async (offset) => {
    const times = { iat: (NOW + TOLERANCE) / 1000, exp: SECONDS + 60 };
    expect(await check(times, { now: NOW + offset })).toBe(offset < 0 ? 'TOKEN_INVALID' : 'ok');
  });

  it('iat may lie ahead by the skew of clocks even where no tolerance is given', async () => {
    const times = { iat: SECONDS + 5, exp: SECONDS + 60 };
    expect(await check(times, { clockTolerance: 0 })).toBe('ok');
    expect(await check(times, { clockTolerance: 0, now: NOW - 1 })).toBe('TOKEN_INVALID');
  });

  it('the longest lifetime is accepted, a second more is not', async () => {
    expect(await check({ exp: SECONDS + 900 })).toBe('ok');
    expect(await check({ exp: SECONDS + 901 })).toBe('TOKEN_INVALID');
    expect(await check({ exp: SECONDS + 900.001 })).toBe('TOKEN_INVALID');
  });

  it('a lifetime that is too long stays refused when the end has come closer', async () => {
    const exp = SECONDS + 901;
    for (const now of [NOW, NOW + 1_000, NOW + 899_000, exp * 1000 - 1, exp * 1000 + 4_999]) {
      expect(await check({ exp }, { now })).toBe('TOKEN_INVALID');
    }
  });

  it.each([NOW, NOW + 900_000, Number.MAX_SAFE_INTEGER])(
    'an exp in milliseconds by mistake (%p) is refused',
    async (exp) => {
      expect(await check({ exp })).toBe('TOKEN_INVALID');
    },
  );

  it('an expired token passes only where that was asked for', () => {
    const now = NOW + 10_000_000;
    const options = { ignoreExpiration: true };
    expect(checkClaims(payload(), rules, now, options)).toMatchObject({ sub: 'alice' });
    // Everything else is checked as ever.
    expect(() => checkClaims(payload({ jti: '' }), rules, now, options)).toThrow();
    expect(() => checkClaims(payload({ exp: SECONDS + 901 }), rules, now, options)).toThrow();
  });
});

describe('an identifier', () => {
  it.each(['a', ' ', '0', '\u{1f600}', 'é', 'a'.repeat(10_000)])('may be %j', (text) => {
    expect(isIdentifier(text)).toBe(true);
  });

  it.each([[''], ['\0'], ['a\0'], ['\ud800'], [5], [null], [undefined], [{}], [[]]])(
    'is not %j',
    (value) => {
      expect(isIdentifier(value)).toBe(false);
    },
  );
});

describe('the whole verifier', () => {
  const clock = new FakeClock(NOW);
  const store = new MemoryStore(clock);
  const { verifier, tokens, denyList } = assembled({}, { clock, store });
  const sign = (claims: unknown, typ = 'at+jwt', secret: string = KEYS.secret) => {
    const signed = `${encode({ alg: 'HS256', typ })}.${encode(claims)}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  };

  it('takes what it has signed', async () => {
    expect(await verifier.verify(sign(payload()))).toMatchObject({ sub: 'alice' });
  });

  it('refuses another secret, another payload, and a signature cut short', async () => {
    const good = sign(payload());
    const [head, , signature] = good.split('.');
    const verify = (text: string) => ending((async () => verifier.verify(text))());
    expect(await verify(sign(payload(), 'at+jwt', 'another secret of 32 bytes......'))).toBe(
      'TOKEN_INVALID',
    );
    expect(await verify(`${head}.${encode(payload({ sub: 'root' }))}.${signature}`)).toBe(
      'TOKEN_INVALID',
    );
    expect(await verify(good.slice(0, -1))).toBe('TOKEN_INVALID');
  });

  const NO_TEXT = [
    undefined,
    null,
    5,
    true,
    {},
    [],
    ['a'],
    new String('x'),
    () => 'x',
    Symbol('x'),
  ];
  it.each(NO_TEXT.map((value) => [value]))('%p is no token', async (value) => {
    expect(await ending(verifier.verify(value as never))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.verify(value as never))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.refresh(value as never))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.reissue(value as never))).toBe('TOKEN_INVALID');
    expect(
      await ending(assembled({ refresh: { tokens: {} } }).tokens.refresh(value as never)),
    ).toBe('TOKEN_INVALID');
  });

  it('a text is no verified token', async () => {
    expect(await ending(tokens.reissue(sign(payload()) as never))).toBe('TOKEN_INVALID');
  });

  it('never takes the record of a successor for a token', async () => {
    const record = sign({ of: 'j', at: NOW, claims: payload() }, 'next+jwt');
    expect(await ending(tokens.verify(record))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.verify(sign(payload(), 'next+jwt')))).toBe('TOKEN_INVALID');
    expect(await ending(tokens.revoke({ token: record }))).toBe('INVALID_TARGET');
  });

  it('lets nothing reach the store that is not correctly signed', async () => {
    const before = store.operations.length;
    const bad = [
      'garbage',
      token(HEADER),
      sign(payload({ exp: SECONDS - 6 })),
      sign(payload({ jti: 5 })),
      sign(payload(), 'JWT'),
    ];
    for (const text of bad) {
      expect(await ending(tokens.verify(text))).toMatch(/^TOKEN_(INVALID|EXPIRED)$/);
      expect(await ending(tokens.refresh(text))).toMatch(/^TOKEN_(INVALID|EXPIRED)$/);
    }
    expect(store.operations.length).toBe(before);
  });

  it('quotes no part of a token in its errors', async () => {
    const text = sign(payload({ sub: 'very-secret-subject' }), 'at+jwt', 'x'.repeat(32));
    for (const attempt of [text, text.replace('.', '!'), `${text}.x`]) {
      try {
        await verifier.verify(attempt);
        throw new Error('was accepted');
      } catch (error) {
        const shown = `${(error as Error).message} ${JSON.stringify(error)} ${(error as Error).cause}`;
        for (const part of [...text.split('.'), 'very-secret-subject']) {
          expect(shown).not.toContain(part);
        }
      }
    }
  });

  it('a record that appears while a token is replaced decides', async () => {
    const meanwhile = async (act: (claims: VerifiedToken) => unknown) => {
      const { claims } = await tokens.issue('alice');
      store.onOperation = async ({ verb, key }) => {
        if (verb !== 'writeIfAbsent' || key !== storeKeys.jti(claims.jti, 'access'))
          return undefined;
        store.onOperation = () => undefined;
        await act(claims);
        return undefined;
      };
      return tokens.reissue(claims);
    };
    // Somebody has met `next` alone, and written what this was about to write.
    const issued = await meanwhile((claims) => denyList.lookInStore(claims));
    expect(await ending(tokens.verify(issued.accessToken))).toBe('ok');
    // One that cannot be read is no pardon.
    const garbage = ({ jti }: VerifiedToken) =>
      store.write(storeKeys.jti(jti, 'access'), 'garbage', 60_000);
    expect(await ending(meanwhile(garbage))).toBe('TOKEN_REVOKED');
  });

  it('a record in the store that somebody else made leads nowhere', async () => {
    const issued = await tokens.issue('alice');
    const { jti } = issued.claims;
    const forged = (claims: object, of: string = jti) =>
      sign({ of, at: NOW, claims: { ...issued.claims, ...claims } as VerifiedToken }, 'next+jwt');
    const put = (record: string) =>
      store.write(storeKeys.next(jti, 'access'), record, 60_000).then(() => store.operations);
    for (const record of [
      'garbage',
      sign({ of: jti, at: NOW, claims: issued.claims }, 'next+jwt', 'x'.repeat(32)),
      sign({ of: jti, at: NOW, claims: issued.claims }, 'at+jwt'),
      forged({ jti: 'other' }, 'somebody else’s'),
      forged({ sid: 'another session' }),
      forged({ sub: 'root' }),
      forged({ exp: 'never' }),
      sign({ of: jti, at: 'now', claims: issued.claims }, 'next+jwt'),
      sign({ of: jti, at: NOW, claims: null }, 'next+jwt'),
      issued.accessToken,
    ]) {
      await put(record);
      expect(await ending(tokens.verify(issued.accessToken))).toBe('TOKEN_SUPERSEDED');
    }
  });
});
