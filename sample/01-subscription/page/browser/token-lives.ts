/** An event of the server; see docs/14-events.md. */
export interface TokenEvent {
  readonly name: 'issued' | 'reissued' | 'superseded-use' | 'marked-stale' | 'revoked';
  /** Milliseconds, by the server's clock. */
  readonly at: number;
  readonly sub?: string;
  readonly sid?: string;
  readonly jti?: string;
  readonly predecessor?: string;
  readonly why?: string;
  readonly scope?: { readonly name: string; readonly value: string };
}

export type State = 'active' | 'stale' | 'superseded' | 'revoked';

/** What has become of one token, and when. */
export interface TokenLife {
  readonly jti: string;
  readonly sid: string;
  readonly sub: string;
  readonly issued: number;
  stale?: number;
  superseded?: number;
  successor?: string;
  revoked?: number;
}

/** The tokens of everybody, as far as the server has told. */
export class TokenLives {
  private readonly byId = new Map<string, TokenLife>();
  /** The server's clock against this one, in ms. */
  private ahead = 0;

  constructor(private readonly changed: () => void) {}

  get now(): number {
    return Date.now() + this.ahead;
  }

  of(sid: string): TokenLife[] {
    return [...this.byId.values()].filter((life) => life.sid === sid);
  }

  find(jti: string): TokenLife | undefined {
    return this.byId.get(jti);
  }

  hear(event: TokenEvent): void {
    this.ahead = event.at - Date.now();
    switch (event.name) {
      case 'issued':
        this.begin(event);
        break;
      case 'reissued':
        this.begin(event);
        this.supersede(event);
        break;
      case 'marked-stale':
        for (const life of this.concerned(event)) life.stale ??= event.at;
        break;
      case 'revoked':
        for (const life of this.concerned(event)) life.revoked ??= event.at;
        break;
    }
    this.changed();
  }

  private begin({ jti = '', sid = '', sub = '', at }: TokenEvent): void {
    if (!this.byId.has(jti)) this.byId.set(jti, { jti, sid, sub, issued: at });
  }

  private supersede({ predecessor = '', jti, at }: TokenEvent): void {
    const life = this.byId.get(predecessor);
    if (!life || life.superseded !== undefined) return;
    life.superseded = at;
    if (jti !== undefined) life.successor = jti;
  }

  /** A mark speaks of the tokens that were there when it was set. */
  private concerned({ scope, at }: TokenEvent): TokenLife[] {
    return [...this.byId.values()].filter(
      (life) =>
        life.issued <= at &&
        life.revoked === undefined &&
        ((scope?.name === 'sub' && scope.value === life.sub) ||
          (scope?.name === 'sid' && scope.value === life.sid)),
    );
  }
}

export function stateOf(life: TokenLife): State {
  if (life.revoked !== undefined) return 'revoked';
  if (life.superseded !== undefined) return 'superseded';
  return life.stale === undefined ? 'active' : 'stale';
}

/** The end of an id is what differs; its beginning is the time. */
export function shortId(jti: string): string {
  return `…${jti.slice(-6)}`;
}
