import { JwtStateConfigError } from '../jwt-state.errors.js';
import { ForeignIssuerOptions, LegacyOptions } from '../jwt-state.options.js';
import type { KeyOptions, KeysOption } from '../keys/key-options.js';
import type { AdoptionSettings, SubjectOf } from '../token/adopted-token.js';
import { ANY } from '../token/token-rules.js';
import { checkAudience, checkChoice, checkName, complete, wholeSeconds } from './checks.js';

/** What is demanded of the parties of tokens that this module did not make. */
interface AdoptedParties {
  readonly issuer: string | undefined;
  readonly audience: readonly string[] | typeof ANY | undefined;
}

export interface LegacyConfig extends AdoptedParties {
  readonly keys: KeyOptions | undefined;
  readonly adoption: AdoptionSettings;
}

export interface ForeignIssuerConfig extends AdoptedParties {
  readonly issuer: string;
  readonly keys: KeysOption;
  readonly types: readonly string[];
  readonly adoption: AdoptionSettings;
}

export function resolveLegacy(
  input: LegacyOptions | 'reissue' | undefined,
  own: AdoptedParties,
  sessionMaxAge: number,
): LegacyConfig | undefined {
  if (input === undefined) return undefined;
  if (typeof input === 'string') checkChoice('legacy', input, ['reissue']);
  const options: LegacyOptions = typeof input === 'string' ? {} : input;
  const legacy = complete('legacy', LegacyOptions, options);
  const { expiresIn } = legacy;
  return {
    keys: legacy.keys,
    issuer: checkName('legacy.issuer', legacy.issuer) ?? own.issuer,
    audience: checkAudience('legacy.audience', legacy.audience) ?? own.audience,
    adoption: {
      origin: 'legacy',
      subject: checkSubject('legacy.subject', legacy.subject),
      lifetime:
        expiresIn === undefined ? sessionMaxAge : wholeSeconds('legacy.expiresIn', expiresIn),
      demands: { issuer: legacy.issuer !== undefined, audience: legacy.audience !== undefined },
    },
  };
}

export function resolveForeignIssuers(
  input: readonly ForeignIssuerOptions[],
  own: string | undefined,
): ForeignIssuerConfig[] {
  if (!Array.isArray(input)) throw new JwtStateConfigError('foreignIssuers must be an array.');
  const issuers = input.map((one, index) => resolveForeignIssuer(`foreignIssuers[${index}]`, one));
  const names = [own, ...issuers.map(({ issuer }) => issuer)];
  if (new Set(names).size === names.length) return issuers;
  throw new JwtStateConfigError(
    'foreignIssuers: an issuer is named twice, or is this service itself (`issuer`).',
  );
}

function resolveForeignIssuer(section: string, input: ForeignIssuerOptions): ForeignIssuerConfig {
  const options = complete(section, ForeignIssuerOptions, input);
  for (const name of ['issuer', 'audience', 'keys', 'expiresIn'] as const) {
    if (options[name] !== undefined) continue;
    throw new JwtStateConfigError(
      `${section}.${name} is missing. An issuer needs issuer, audience, keys and expiresIn.`,
    );
  }
  for (const name of ['issuer', 'audience'] as const) {
    if (options[name] !== ANY) continue;
    throw new JwtStateConfigError(
      `${section}.${name}: '*' would take what this issuer made for others. Name it.`,
    );
  }
  const { types } = options;
  if (!Array.isArray(types) || !types.every((type) => typeof type === 'string')) {
    throw new JwtStateConfigError(`${section}.types must be a list of values of \`typ\`.`);
  }
  return {
    issuer: checkName(`${section}.issuer`, options.issuer) as string,
    audience: checkAudience(`${section}.audience`, options.audience),
    keys: options.keys,
    types: types.map((type: string) => type.toLowerCase()),
    adoption: {
      origin: 'foreign',
      subject: checkSubject(`${section}.subject`, options.subject),
      lifetime: wholeSeconds(`${section}.expiresIn`, options.expiresIn),
      demands: { issuer: true, audience: true },
    },
  };
}

function checkSubject(name: string, subject: SubjectOf | undefined): SubjectOf {
  if (subject === undefined) return ({ sub }) => sub as string | number | undefined;
  if (typeof subject === 'function') return subject;
  throw new JwtStateConfigError(`${name} must be a function: (claims) => subject.`);
}
