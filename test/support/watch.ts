import type { Reply } from './keep-alive-client.js';
import { type Stall, stalledWithin } from './stalls.js';

/** What a request may ask for. */
export type Kind = 'look' | 'change' | 'revoke' | 'log-in';

/** `denyList.lookupTimeout` of the services under test, in ms. */
export const LOOKUP_TIMEOUT_MS = 400;
/** How often a request of a kind may ask the store, one question after the other. */
const QUESTIONS: Record<Kind, number> = { look: 4, change: 8, revoke: 4, 'log-in': 4 };
/** For the work of client, service and machine beside the store, in ms. */
const MARGIN_MS = 350;
/** The default `nearCopy.lease`, in ms. */
export const LEASE_MS = 1_000;

/** One of the services under load. */
export interface Target {
  readonly name: string;
  /** Answers from what it was told before, and so hears of the others' changes with a lag. */
  readonly hasNearCopy: boolean;
}

/** A log-in, and what became of it. */
export interface Session {
  readonly sid: string;
  readonly startedAt: number;
  token: string;
  /** Somebody has asked for its end, and may or may not have got it. */
  revokeAskedAt?: number;
  /** Its end was confirmed, at this moment and by this service. */
  revoked?: { readonly at: number; readonly by: Target };
  isLost?: boolean;
}

export interface Answer extends Stall {
  readonly kind: Kind;
  readonly target: Target;
  readonly session: Session | undefined;
  readonly reply: Reply | Error;
}

/** Looks at every answer, and says which of them must not have been. */
export class Watch {
  readonly violations: string[] = [];
  /** How long after its end was confirmed a session was let in, at worst, in ms; by target. */
  readonly acceptedAfter: Record<string, number> = {};
  readonly counts: Record<string, number> = {};
  readonly answers: Answer[] = [];
  /** Sessions that began before this moment may be refused because the store has lost its entries. */
  lostBefore = Number.NEGATIVE_INFINITY;
  /** Single records written before this moment may be gone: of revocations, and of successors. */
  forgottenBefore = Number.NEGATIVE_INFINITY;

  take(answer: Answer): void {
    const { kind, session, reply, from } = answer;
    this.answers.push(answer);
    if (reply instanceof Error) {
      this.blame(answer, `failed: ${reply.message}`);
      return;
    }
    const { status, body, retryAfter } = reply;
    const outcome = status === 200 ? 'ok' : (body?.code ?? status);
    const whose = session?.revoked && from > session.revoked.at ? 'revoked' : 'good';
    const count = `${kind} ${whose} ${outcome}`;
    this.counts[count] = (this.counts[count] ?? 0) + 1;
    if (status === 200) this.judgeAcceptance(answer, session);
    else if (status === 401) this.judgeRefusal(answer, session, body?.code);
    else if (status !== 503) this.blame(answer, `${status} ${JSON.stringify(body)}`);
    else {
      const isProper = body?.code === 'DENY_LIST_UNAVAILABLE' && Number(retryAfter) > 0;
      if (!isProper) this.blame(answer, `503 ${JSON.stringify(body)}, Retry-After ${retryAfter}`);
    }
  }

  /** All that was sent since a moment. */
  since(moment: number): Answer[] {
    let first = this.answers.length;
    // In the order in which they came, which is nearly that in which they were sent.
    while (first > 0 && (this.answers[first - 1] as Answer).to > moment) first -= 1;
    return this.answers.slice(first).filter(({ from }) => from > moment);
  }

  /** What took longer than the options of the services allow, stalls of the machine left aside. */
  overdue(stallsOf: (target: Target) => readonly Stall[]): string[] {
    return this.answers
      .filter((answer) => netOf(answer, stallsOf) > deadlineOf(answer.kind))
      .map(
        (answer) => `${answer.kind} at ${answer.target.name} took ${netOf(answer, stallsOf)} ms`,
      );
  }

  /** The longest that requests of each kind took, stalls left aside, in ms. */
  slowest(stallsOf: (target: Target) => readonly Stall[]): Record<string, number> {
    const longest: Record<string, number> = {};
    for (const answer of this.answers) {
      const took = netOf(answer, stallsOf);
      longest[answer.kind] = Math.max(longest[answer.kind] ?? 0, took);
    }
    return longest;
  }

  private judgeAcceptance(answer: Answer, session: Session | undefined): void {
    const { kind, target, from } = answer;
    const revoked = session?.revoked;
    if (!revoked || kind === 'revoke' || from <= revoked.at) return;
    const late = Math.round(from - revoked.at);
    if (revoked.at < this.forgottenBefore) return;
    this.acceptedAfter[target.name] = Math.max(this.acceptedAfter[target.name] ?? 0, late);
    const bound = target === revoked.by || !target.hasNearCopy ? 0 : LEASE_MS;
    if (late > bound)
      this.blame(answer, `accepted ${late} ms after revoke() by ${revoked.by.name}`);
  }

  private judgeRefusal(answer: Answer, session: Session | undefined, code: unknown): void {
    const startedAt = session?.startedAt ?? 0;
    const isForgotten = startedAt < this.forgottenBefore;
    const isLoss = code === 'DENY_LIST_LOST' && startedAt < this.lostBefore;
    if (session && (isLoss || isForgotten)) session.isLost = true;
    if (session?.revokeAskedAt !== undefined) return;
    if (!isLoss && !isForgotten) this.blame(answer, `a good token was refused: ${code}`);
  }

  private blame({ kind, target, session }: Answer, what: string): void {
    this.violations.push(`${kind} at ${target.name} (${session?.sid ?? 'nobody'}): ${what}`);
  }
}

function deadlineOf(kind: Kind): number {
  return QUESTIONS[kind] * LOOKUP_TIMEOUT_MS + MARGIN_MS;
}

function netOf(answer: Answer, stallsOf: (target: Target) => readonly Stall[]): number {
  const { from, to, target } = answer;
  return Math.round(to - from - stalledWithin(stallsOf(target), { from, to }));
}
