import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { toMilliseconds } from '../../lib/duration.js';
import { checkStaticOptions, resolveOptions } from '../../lib/jwt-state.config.js';
import { JwtStateConfigError } from '../../lib/jwt-state.errors.js';
import {
  CookieOptions,
  ForeignIssuerOptions,
  JwtStateOptions,
  LegacyOptions,
  RefreshCookieOptions,
  RefreshTokenOptions,
} from '../../lib/jwt-state.options.js';
import { KEYS } from '../support/setup.js';

type Given = Record<string, unknown>;

const resolve = (options: Given = {}) => resolveOptions({ keys: KEYS, ...options } as never);

function bootError(attempt: () => unknown): string {
  let result: unknown;
  try {
    result = attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(JwtStateConfigError);
    return (error as Error).message;
  }
  throw new Error(`it was accepted: ${JSON.stringify(result)}`);
}

/** `{ a: { b: value } }` for `a.b`. */
const at = (path: string, value: unknown): Given =>
  path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Given;

const claims = () => ({});

describe('the defaults', () => {
  it('are these', () => {
    expect(resolve()).toEqual({
      keys: KEYS,
      issuer: undefined,
      audience: undefined,
      clockTolerance: 5_000,
      accessTokenLifetime: 900_000,
      verifiedTokens: 10_000,
      claims: undefined,
      claimsTimeout: 5_000,
      denyList: {
        isOn: true,
        cache: undefined,
        prefix: 'jst:',
        lookupTimeout: 150,
        onUnavailable: 'reject',
        onLoss: 'reject',
        longestLifetime: 900_000,
        claims: [],
      },
      gracePeriod: 30_000,
      handlerTimeout: 60_000,
      expiry: 'keep',
      delivery: {
        header: 'Authorization',
        cookie: {
          name: '__Host-token',
          path: '/',
          domain: undefined,
          secure: true,
          sameSite: 'lax',
          partitioned: false,
          persistent: true,
          former: [],
        },
        body: undefined,
        usesCookie: false,
      },
      sessionMaxAge: 30 * 86_400_000,
      refresh: { path: 'auth/refresh-token', accessTokens: true, tokens: undefined },
      legacy: undefined,
      foreignIssuers: [],
    });
    expect(checkStaticOptions({})).toEqual({
      guard: undefined,
      refreshPath: 'auth/refresh-token',
      jwksPath: false,
      hasDenyList: true,
    });
  });

  it('stand for undefined, as for nothing', () => {
    const nothing = {
      issuer: undefined,
      clockTolerance: undefined,
      accessToken: undefined,
      denyList: { prefix: undefined, onLoss: undefined },
      reissue: { gracePeriod: undefined },
      delivery: { header: undefined, cookie: undefined, body: undefined },
      session: {},
    };
    expect(resolve(nothing)).toEqual(resolve());
    expect(checkStaticOptions({ guard: undefined, refresh: undefined })).toEqual(
      checkStaticOptions({}),
    );
  });

  it('are new for every module: no two share an object', () => {
    const first = new JwtStateOptions();
    expect(first.denyList).not.toBe(new JwtStateOptions().denyList);
  });
});

describe('an option that does not exist stops the boot', () => {
  const LEVELS = [
    '',
    'accessToken',
    'denyList',
    'reissue',
    'delivery',
    'delivery.cookie',
    'session',
  ];
  const WRONG = ['typo', '', '__proto__x', 'constructor', 'toString', 'expiresin', 'Claims', '0'];

  it.each(LEVELS)('in %j', (level) => {
    for (const name of WRONG) {
      const path = level === '' ? { [name]: 1 } : at(level, { [name]: 1 });
      expect(bootError(() => resolve(path))).toContain(JSON.stringify(name));
    }
  });

  it('in refresh', () => {
    for (const name of WRONG) {
      bootError(() => checkStaticOptions({ refresh: { [name]: 1 } } as never));
    }
  });

  it('also where it is undefined: it was meant to be something', () => {
    bootError(() => resolve({ isuer: undefined }));
  });

  it('names those that do', () => {
    expect(bootError(() => resolve({ denyList: { maxTtl: 5 } }))).toContain('lookupTimeout');
  });

  it.each(LEVELS.slice(1))('%s must be an object', (level) => {
    for (const value of [null, 5, 'x', () => 1]) {
      if (level === 'delivery.cookie' && typeof value !== 'number') continue;
      bootError(() => resolve(at(level, value)));
    }
  });

  it('guard and refresh do not come from a factory', () => {
    expect(bootError(() => resolve({ guard: 'global' }))).toContain('forRootAsync');
    expect(bootError(() => resolve({ refresh: { path: false } }))).toContain('forRootAsync');
  });

  it.each([[undefined], [null], [5], ['x']])('nothing at all is no set of options: %j', (input) => {
    bootError(() => resolveOptions(input as never));
  });
});

describe('a duration', () => {
  const PLACES = [
    'clockTolerance',
    'accessToken.expiresIn',
    'denyList.lookupTimeout',
    'denyList.longestLifetime',
    'reissue.gracePeriod',
    'reissue.claimsTimeout',
    'reissue.handlerTimeout',
    'session.maxAge',
  ];

  it.each([
    [900, 900_000],
    [1, 1_000],
    [0.15, 150],
    ['150ms', 150],
    ['30s', 30_000],
    ['15m', 900_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
    ['1w', 604_800_000],
    ['1.5h', 5_400_000],
  ])('%j is %p ms', (given, expected) => {
    expect(toMilliseconds('x', given as never)).toBe(expected);
  });

  const NONE = [
    '900',
    '',
    ' ',
    's',
    '15',
    '15 parsecs',
    '-15m',
    '- 15m',
    '+15m',
    '1e3s',
    '15m30s',
    '15m ',
    ' 15m',
    '0x10s',
    -1,
    -0.001,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.MAX_VALUE,
    null,
    true,
    {},
    [],
    [5],
    ['15m'],
    new Date(),
  ];
  it.each(PLACES)('%s takes nothing else', (place) => {
    for (const value of NONE) {
      expect(bootError(() => resolve(at(place, value)))).toContain(place);
    }
  });

  it('may be nothing only where that means something', () => {
    expect(resolve({ clockTolerance: 0 }).clockTolerance).toBe(0);
    expect(resolve({ reissue: { gracePeriod: '0s' } }).gracePeriod).toBe(0);
    for (const place of PLACES) {
      if (['clockTolerance', 'reissue.gracePeriod'].includes(place)) continue;
      bootError(() => resolve(at(place, 0)));
    }
  });

  it.each(['accessToken.expiresIn', 'denyList.longestLifetime', 'session.maxAge'])(
    '%s is in whole seconds, at least one',
    (place) => {
      for (const value of [0.5, 1.5, '1500ms', '999ms', '1ms'])
        bootError(() => resolve(at(place, value)));
    },
  );
});

describe('a choice', () => {
  it.each([
    ['reissue.expiry', ['keep', 'renew']],
    ['denyList.onUnavailable', ['reject', 'accept']],
    ['denyList.onLoss', ['reject', 'reissue', 'accept']],
    ['delivery.cookie.sameSite', ['strict', 'lax', 'none']],
  ])('%s is one of %j', (place, choices) => {
    for (const choice of choices) resolve({ claims, ...at(place, choice) });
    for (const other of ['', 'Reject', 'ignore', null, true, 0, [choices[0]]]) {
      expect(bootError(() => resolve({ claims, ...at(place, other) }))).toContain(place);
    }
  });

  it('guard is global or absent', () => {
    expect(checkStaticOptions({ guard: 'global' }).guard).toBe('global');
    for (const guard of ['', 'local', true, false, null]) {
      bootError(() => checkStaticOptions({ guard } as never));
    }
  });

  it('onLoss: reissue needs a claims source', () => {
    expect(bootError(() => resolve({ denyList: { onLoss: 'reissue' } }))).toContain('claims');
    expect(resolve({ claims, denyList: { onLoss: 'reissue' } }).denyList.onLoss).toBe('reissue');
  });
});

describe('a value that does not fit stops the boot', () => {
  it.each([
    ['keys', undefined],
    ['keys', null],
    ['claims', {}],
    ['claims', 'select *'],
    ['claims', null],
    ['issuer', ''],
    ['issuer', 5],
    ['issuer', null],
    ['audience', ''],
    ['audience', []],
    ['audience', ['a', '']],
    ['audience', [5]],
    ['audience', null],
    ['denyList.prefix', ''],
    ['denyList.prefix', 'a b'],
    ['denyList.prefix', 'é:'],
    ['denyList.prefix', 'a\n'],
    ['denyList.prefix', null],
    ['denyList.prefix', 5],
    ['denyList.claims', 'tenant'],
    ['denyList.claims', ['']],
    ['denyList.claims', [5]],
    ['denyList.claims', ['sub']],
    ['denyList.claims', ['sid']],
    ['denyList.claims', ['seen']],
    ['denyList.claims', ['jti']],
    ['denyList.claims', ['except']],
    ['denyList.claims', ['constructor']],
    ['denyList.claims', null],
    ['delivery.header', ''],
    ['delivery.header', 'X Token'],
    ['delivery.header', 'X-Token\r\nSet-Cookie'],
    ['delivery.header', true],
    ['delivery.header', 5],
    ['delivery.body', ''],
    ['delivery.body', true],
    ['delivery.body', 5],
    ['delivery.cookie', 'token'],
    ['delivery.cookie.name', ''],
    ['delivery.cookie.name', 'a;b'],
    ['delivery.cookie.name', 'a=b'],
    ['delivery.cookie.path', 5],
    ['delivery.cookie.path', '/; Domain=evil.example'],
    ['delivery.cookie.domain', 'a;b'],
    ['delivery.cookie.domain', 5],
    ['delivery.cookie.secure', 'false'],
    ['delivery.cookie.partitioned', 'yes'],
    ['delivery.cookie.persistent', 0],
    ['delivery.cookie.former', { domain: 'a.example' }],
    ['delivery.cookie.former', [{ domain: 'a;b' }]],
    ['delivery.cookie.former', [{ host: 'a.example' }]],
    ['delivery.cookie.former', ['a.example']],
  ])('%s: %j', (place, value) => {
    bootError(() => resolve(at(place, value)));
  });

  it.each([[''], ['  '], [true], [5], [null]])('refresh.path: %j', (path) => {
    bootError(() => checkStaticOptions({ refresh: { path } } as never));
  });

  it('a longest lifetime below that of the tokens made here', () => {
    const lifetimes = (longest: string, own: string) =>
      resolve({ accessToken: { expiresIn: own }, denyList: { longestLifetime: longest } });
    bootError(() => lifetimes('899s', '15m'));
    expect(lifetimes('15m', '15m').denyList.longestLifetime).toBe(900_000);
  });

  it('no way to deliver a token', () => {
    bootError(() => resolve({ delivery: { header: false } }));
    expect(resolve({ delivery: { header: false, body: 'token' } }).delivery.header).toBeUndefined();
    expect(resolve({ delivery: { header: false, cookie: true } }).delivery.usesCookie).toBe(true);
  });

  it('a cookie that browsers would not take', () => {
    const cookie = (attributes: Given) =>
      resolve({ delivery: { cookie: attributes } }).delivery.cookie;
    bootError(() => cookie({ name: '__Host-token', path: '/api' }));
    bootError(() => cookie({ name: '__Host-token', secure: false }));
    bootError(() => cookie({ name: '__Host-token', domain: 'example.org' }));
    bootError(() => cookie({ name: '__Secure-token', secure: false }));
    bootError(() => cookie({ sameSite: 'none', secure: false }));
    bootError(() => cookie({ partitioned: true, secure: false }));
    bootError(() => cookie({ path: '/api', former: [{ name: '__Host-token' }] }));
    expect(cookie({ path: '/api' }).name).toBe('token');
    expect(cookie({ domain: 'example.org' }).name).toBe('token');
    expect(cookie({ secure: false }).name).toBe('token');
    expect(cookie({}).name).toBe('__Host-token');
  });

  it('a former scope that is the cookie itself, which would be deleted with each new one', () => {
    const cookie = (attributes: Given) =>
      resolve({ delivery: { cookie: attributes } }).delivery.cookie;
    bootError(() => cookie({ name: 't', former: [{}] }));
    bootError(() => cookie({ domain: 'a.example', former: [{ domain: 'a.example' }] }));
    const former = { name: 't', path: '/', domain: undefined, partitioned: false };
    expect(cookie({ name: 't', domain: 'a.example', former: [{}] }).former).toEqual([former]);
    expect(cookie({ name: 't', partitioned: true, former: [{}] }).former).toEqual([former]);
  });
});

describe('what is given', () => {
  it('a header of its own, or none beside a cookie', () => {
    const header = (delivery: Given) => resolve({ delivery }).delivery.header;
    expect(header({ header: 'X-Token' })).toBe('X-Token');
    expect(header({ cookie: true })).toBeUndefined();
    expect(header({ cookie: true, header: 'X-Token' })).toBe('X-Token');
    expect(header({ cookie: false })).toBe('Authorization');
  });

  it('one audience is a list of one', () => {
    expect(resolve({ audience: 'a' }).audience).toEqual(['a']);
    expect(resolve({ audience: ['a', 'b'] }).audience).toEqual(['a', 'b']);
  });

  it('any issuer and any audience have to be said', () => {
    expect(resolve({ issuer: '*', audience: '*' })).toMatchObject({ issuer: '*', audience: '*' });
    const legacy = { issuer: '*', audience: '*' };
    const own = { issuer: 'shop', audience: 'api' };
    expect(resolve({ ...own, legacy }).legacy).toMatchObject(legacy);
    expect(bootError(() => resolve({ audience: ['a', '*'] }))).toContain('any audience');
  });

  it('a claim listed twice counts once', () => {
    expect(resolve({ denyList: { claims: ['tenant', 'tenant'] } }).denyList.claims).toEqual([
      'tenant',
    ]);
  });

  it('is not changed by being read', () => {
    const options = Object.freeze({
      keys: KEYS,
      denyList: Object.freeze({ claims: Object.freeze(['tenant']) }),
      delivery: Object.freeze({ cookie: Object.freeze({ path: '/api' }) }),
    });
    resolveOptions(options);
    resolveOptions(options);
  });
});

describe('tokens from before', () => {
  const legacy = (value: unknown, more: Given = {}) => resolve({ legacy: value, ...more }).legacy;

  it('are as the service’s own, unless something else is said', () => {
    const own = { issuer: 'shop', audience: ['api'], accessToken: { expiresIn: '10m' } };
    const { adoption, ...parties } = legacy('reissue', own) as NonNullable<
      ReturnType<typeof legacy>
    >;
    expect(parties).toEqual({ keys: undefined, issuer: 'shop', audience: ['api'] });
    expect(adoption).toMatchObject({
      origin: 'legacy',
      lifetime: 30 * 24 * 3_600_000,
      demands: { issuer: false, audience: false },
    });
    expect(adoption.subject({ sub: 1, userId: 2 })).toBe(1);
    expect(legacy({}, own)).toMatchObject(parties);
  });

  it('must name the issuer and audience that are given for them', () => {
    const given = { issuer: 'old', audience: 'web', expiresIn: '7d' };
    expect(legacy(given, { issuer: 'shop', audience: 'api' })).toMatchObject({
      issuer: 'old',
      audience: ['web'],
      adoption: { lifetime: 7 * 86_400_000, demands: { issuer: true, audience: true } },
    });
  });

  it('may live longer than any other: revocations are kept as long', () => {
    const longest = (options: Given) => resolve(options).denyList.longestLifetime;
    expect(longest({ legacy: { expiresIn: '7d' } })).toBe(7 * 86_400_000);
    expect(longest({ legacy: { expiresIn: '1m' } })).toBe(900_000);
    const shorter = { legacy: { expiresIn: '7d' }, denyList: { longestLifetime: '6d' } };
    expect(bootError(() => longest(shorter))).toContain('legacy.expiresIn');
  });

  it.each<[unknown, RegExp]>([
    ['accept', /legacy: "accept" is not one of "reissue"/],
    ['', /legacy: "" is not one of/],
    [true, /legacy must be an object/],
    [null, /legacy/],
    [{ expiresin: '1h' }, /^legacy: there is no option "expiresin"/],
    [{ expiresIn: '500ms' }, /legacy\.expiresIn/],
    [{ expiresIn: 0 }, /legacy\.expiresIn/],
    [{ issuer: '' }, /legacy\.issuer/],
    [{ audience: [] }, /legacy\.audience/],
    [{ subject: 'userId' }, /legacy\.subject must be a function/],
  ])('%j stops the boot', (value, message) => {
    expect(bootError(() => legacy(value))).toMatch(message);
  });
});

describe('other issuers', () => {
  const IDP = { issuer: 'https://idp.example', audience: 'api', keys: KEYS, expiresIn: '1h' };
  const foreign = (...issuers: unknown[]) => resolve({ foreignIssuers: issuers }).foreignIssuers;

  it('are demanded to name themselves and this service, at and under their own terms', () => {
    const [idp] = foreign(IDP);
    expect(idp).toMatchObject({
      issuer: 'https://idp.example',
      audience: ['api'],
      keys: KEYS,
      types: ['at+jwt', 'jwt'],
      adoption: {
        origin: 'foreign',
        lifetime: 3_600_000,
        demands: { issuer: true, audience: true },
      },
    });
    expect(idp?.adoption.subject({ sub: 'alice' })).toBe('alice');
  });

  it('may have a typ of their own, or none', () => {
    expect(foreign({ ...IDP, types: ['IDP+jwt', ''] })[0]?.types).toEqual(['idp+jwt', '']);
  });

  it('may be all there is: then `keys` is not missed', () => {
    const alone = (keys: unknown) => resolveOptions({ keys, foreignIssuers: [IDP] } as never).keys;
    expect(alone(undefined)).toBeUndefined();
    expect(bootError(() => alone(null))).toContain('keys is missing');
    for (const keys of [undefined, null, []]) {
      expect(bootError(() => resolveOptions({ keys } as never))).toContain('keys is missing');
    }
  });

  it('count into the longest lifetime', () => {
    const longest = (denyList: Given = {}) =>
      resolve({ foreignIssuers: [IDP, { ...IDP, issuer: 'b', expiresIn: '2h' }], denyList })
        .denyList.longestLifetime;
    expect(longest()).toBe(7_200_000);
    expect(bootError(() => longest({ longestLifetime: '90m' }))).toContain('expiresIn of b');
  });

  it.each(['issuer', 'audience', 'keys', 'expiresIn'])('stop the boot without %s', (name) => {
    for (const value of [{ ...IDP, [name]: undefined }, omit(IDP, name)]) {
      expect(bootError(() => foreign(IDP, value))).toContain(
        `foreignIssuers[1].${name} is missing`,
      );
    }
  });

  it.each<[Given, string]>([
    [{ issuer: '' }, 'issuer'],
    [{ issuer: 5 }, 'issuer'],
    [{ issuer: null }, 'issuer'],
    [{ audience: '' }, 'audience'],
    [{ audience: [] }, 'audience'],
    [{ audience: ['api', 5] }, 'audience'],
    [{ audience: '*' }, 'audience'],
    [{ issuer: '*' }, 'issuer'],
    [{ audience: null }, 'audience'],
    [{ expiresIn: '1 fortnight' }, 'expiresIn'],
    [{ expiresIn: 0 }, 'expiresIn'],
    [{ expiresIn: '1500ms' }, 'expiresIn'],
    [{ expiresIn: null }, 'expiresIn'],
    [{ types: 'JWT' }, 'types'],
    [{ types: [5] }, 'types'],
    [{ types: null }, 'types'],
    [{ subject: 'sub' }, 'subject'],
    [{ subject: null }, 'subject'],
    [{ jwksUri: 'https://idp.example/keys' }, 'jwksUri'],
  ])('stop the boot with %j', (member, name) => {
    const message = bootError(() => foreign({ ...IDP, ...member }));
    expect(message).toMatch(/^foreignIssuers\[0\]/);
    expect(message).toContain(name);
  });

  it('stop the boot where one is named twice, or is this service', () => {
    expect(bootError(() => foreign(IDP, { ...IDP, audience: 'web' }))).toContain('named twice');
    const own = { issuer: IDP.issuer, foreignIssuers: [IDP] };
    expect(bootError(() => resolve(own))).toContain('this service');
    expect(foreign(IDP, { ...IDP, issuer: `${IDP.issuer}/` })).toHaveLength(2);
  });

  it.each([[{}], ['idp'], [null], [IDP]])('are a list, not %j', (value) => {
    expect(bootError(() => resolve({ foreignIssuers: value }))).toContain('foreignIssuers');
  });

  it.each([[null], ['https://idp.example'], [5]])('are objects, not %j', (value) => {
    bootError(() => foreign(value));
  });

  const omit = (options: Given, name: string): Given =>
    Object.fromEntries(Object.entries(options).filter(([key]) => key !== name));
});

describe('what shapes the module', () => {
  it('published keys have their usual path, or another', () => {
    const path = (jwks: unknown) => checkStaticOptions({ jwks } as never).jwksPath;
    expect([true, false, undefined].map(path)).toEqual(['.well-known/jwks.json', false, false]);
    expect(path('keys.json')).toBe('keys.json');
    for (const jwks of ['', ' ', 5, null, {}]) {
      expect(bootError(() => path(jwks))).toContain('jwks must be true, false, or a path');
    }
  });

  it('there is a deny list, unless it is switched off', () => {
    const has = (denyList: unknown) => checkStaticOptions({ denyList } as never).hasDenyList;
    expect([undefined, {}, false].map(has)).toEqual([true, true, false]);
    expect(resolveOptions({ keys: KEYS }, { denyList: false }).denyList.isOn).toBe(false);
    for (const denyList of [true, null, 0, '']) {
      bootError(() => resolveOptions({ keys: KEYS }, { denyList } as never));
    }
  });

  it('cannot come from a factory; the deny list itself can', () => {
    for (const given of [{ jwks: true }, { jwks: false }, { denyList: false }]) {
      const [name = ''] = Object.keys(given);
      const message = bootError(() => resolve(given));
      expect(message).toMatch(new RegExp(`^${name} came from the factory of forRootAsync`));
    }
    expect(resolve({ denyList: { prefix: 'mine:' } }).denyList).toMatchObject({
      isOn: true,
      prefix: 'mine:',
    });
  });

  it('refresh tokens need a deny list', () => {
    const options = { refresh: { tokens: {} }, denyList: false } as const;
    expect(bootError(() => resolveOptions({ keys: KEYS }, options))).toContain('need a deny list');
  });
});

describe('the options table of the README', () => {
  const REQUIRED = new Set([
    'keys',
    'foreignIssuers.issuer',
    'foreignIssuers.audience',
    'foreignIssuers.keys',
    'foreignIssuers.expiresIn',
  ]);

  /** `option` → default, as the classes have them. */
  function documented(): Map<string, string> {
    const rows = new Map<string, string>();
    const collect = (prefix: string, options: object) => {
      for (const [name, value] of Object.entries(options)) {
        const path = `${prefix}${name}`;
        const isSection = typeof value === 'object' && value !== null && !Array.isArray(value);
        if (isSection) collect(`${path}.`, value);
        else rows.set(path, REQUIRED.has(path) ? 'required' : inCode(value));
      }
    };
    collect('', new JwtStateOptions());
    collect('delivery.cookie.', new CookieOptions());
    collect('refresh.tokens.', new RefreshTokenOptions());
    collect('refresh.tokens.cookie.', new RefreshCookieOptions());
    collect('legacy.', new LegacyOptions());
    collect('foreignIssuers.', new ForeignIssuerOptions());
    return rows;
  }

  /** As one would type it. */
  function inCode(value: unknown): string {
    return typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? 'undefined');
  }

  it('names every option, with its default, and no other', () => {
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
    const rows = [...readme.matchAll(/^\| *`([\w.]+)` *\| *`?(.*?)`? *\|/gm)].map(
      ([, name, value]) => [name, value] as const,
    );
    expect(rows.length).toBe(new Map(rows).size);
    const sorted = (entries: Iterable<readonly [unknown, unknown]>) =>
      [...entries].sort(([a], [b]) => String(a).localeCompare(String(b)));
    expect(sorted(rows)).toEqual(sorted(documented()));
  });
});
