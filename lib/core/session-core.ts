import type { Clock } from '../clock.js';
import type { EventSink } from '../events/token-events.js';
import { Arrivals } from '../session/arrivals.js';
import { CommitProtocol } from '../session/commit-protocol.js';
import { Composer } from '../session/composer.js';
import { type LifetimeSettings, Lifetimes } from '../session/lifetimes.js';
import { OthersRevoker } from '../session/others-revoker.js';
import { Refresher } from '../session/refresher.js';
import { Reissuer } from '../session/reissuer.js';
import { type ClaimsCheck, SealedRecords } from '../session/sealed-records.js';
import { SessionEnder } from '../session/session-ender.js';
import { SessionScopes } from '../session/session-scopes.js';
import { SessionStarter } from '../session/session-starter.js';
import { StandingReader } from '../session/standing.js';
import { TokenResolver } from '../session/token-resolver.js';
import { MarkWriter } from '../state/mark-writer.js';
import { StateKeys } from '../state/state-keys.js';
import { StateReader } from '../state/state-reader.js';
import { StateUpdater, type UpdaterSettings } from '../state/state-updater.js';
import { Witness } from '../state/witness.js';
import type { StateStore } from '../store/state-store.js';
import type { ClaimsReader } from '../token/claims-reader.js';
import type { TokenMint } from '../token/token-mint.js';
import type { TokenSigner } from '../token/token-signer.js';
import type { TokenVerifier } from '../token/token-verifier.js';

export interface SessionCoreSettings extends LifetimeSettings {
  readonly prefix: string;
  readonly onLoss: 'reject' | 'reissue' | 'accept';
  readonly scopeClaims: readonly string[];
  /** The longest lifetime of any token here, in ms. */
  readonly longestLifetime: number;
  readonly arrivesWhenConfirmed: boolean;
  readonly renew: boolean;
  readonly updates: UpdaterSettings;
}

/** The outside world of the rules. */
export interface SessionCoreParts {
  readonly store: StateStore;
  readonly clock: Clock;
  readonly monotonic: () => number;
  readonly claims: ClaimsReader;
  readonly mint: TokenMint;
  readonly signer: TokenSigner;
  readonly verifier: Pick<TokenVerifier, 'open'>;
  readonly checkClaims: ClaimsCheck;
  readonly events: EventSink;
  readonly settings: SessionCoreSettings;
}

export type SessionCore = ReturnType<typeof createSessionCore>;

/** Puts the rules together, over one store. */
export function createSessionCore(parts: SessionCoreParts) {
  const { store, clock, monotonic, claims, mint, signer, verifier, events, settings } = parts;
  const { gracePeriod, renew, handlerTimeout } = settings;
  const keys = new StateKeys(settings.prefix);
  const lifetimes = new Lifetimes(settings);
  const keepFor = lifetimes.mark(settings.longestLifetime);
  const witness = new Witness(store, keys.store, clock, keepFor);
  const reader = new StateReader(store, keys, witness, clock);
  const updater = new StateUpdater(store, witness, clock, settings.updates);
  const marks = new MarkWriter(updater, keys, clock);
  const scopes = new SessionScopes(keys, settings.scopeClaims);
  const records = new SealedRecords(signer, verifier, parts.checkClaims);
  const rules = {
    onLoss: settings.onLoss,
    clockTolerance: settings.clockTolerance,
    gracePeriod,
    canSign: mint.canSign,
    hasSource: claims.hasSource,
  };
  const standings = new StandingReader(reader, records, scopes, clock, rules);
  const ender = new SessionEnder(store, keys, witness, events);
  const composer = new Composer(reader, scopes, claims, mint, ender, clock);
  const arrivals = new Arrivals(store, keys, witness, lifetimes, clock);
  const common = {
    store,
    keys,
    witness,
    standings,
    composer,
    records,
    lifetimes,
    mint,
    events,
    clock,
  };
  const reissuer = new Reissuer({
    ...common,
    arrivals,
    settings: { gracePeriod, arrivesWhenConfirmed: settings.arrivesWhenConfirmed },
  });
  const refresher = new Refresher({ ...common, ender, monotonic, gracePeriod });
  const resolver = new TokenResolver({
    standings,
    reissuer,
    composer,
    mint,
    arrivals,
    keys,
    events,
    renew,
  });
  const protocol = new CommitProtocol({
    marks,
    reader,
    keys,
    standings,
    resolver,
    composer,
    clock,
    handlerTimeout,
    renew,
  });
  const starter = new SessionStarter(reader, keys, scopes, claims, mint, events, clock);
  const others = new OthersRevoker(standings, updater, marks, keys);
  return {
    keys,
    witness,
    reader,
    marks,
    standings,
    ender,
    resolver,
    refresher,
    protocol,
    starter,
    others,
  };
}
