import type { Claims, ClaimsSource, VerifiedToken } from 'nestjs-jwt-state';
import { Latch } from './latch.js';

/** Where a test's application keeps its users; `claims` is its claims source. */
export class Users {
  /** How often the claims source was asked. */
  asked = 0;
  private readonly claimsOf = new Map<string, Claims | null>();
  private trouble: (() => Promise<never>) | undefined;
  private holdBack: (() => Promise<void>) | undefined;

  constructor() {
    this.set('alice', { plan: 'free', role: 'member' });
    this.set('bob', { plan: 'free', role: 'member' });
  }

  set(name: string, claims: Claims): void {
    this.claimsOf.set(name, { ...this.claimsOf.get(name), ...claims });
  }

  /** The subject may hold no token any more. */
  remove(name: string): void {
    this.claimsOf.set(name, null);
  }

  /** From now on the source throws, or does not answer at all. */
  fail(how: 'throws' | 'hangs'): void {
    this.trouble = () =>
      how === 'hangs' ? new Promise(() => {}) : Promise.reject(new Error('The database is away.'));
  }

  recover(): void {
    this.trouble = undefined;
  }

  /** From now on answers are held back, as they were when the source was asked. */
  hold(): { asked(): Promise<void>; release(): void } {
    const asked = new Latch('the claims source is asked');
    const released = new Latch('the claims source answers');
    this.holdBack = () => {
      asked.open();
      return released.opened;
    };
    return {
      asked: () => asked.reached(),
      release: () => {
        this.holdBack = undefined;
        released.open();
      },
    };
  }

  /** What was chosen for the session is kept; all else is the user's. */
  readonly claims: ClaimsSource = async (subject: string, previous?: VerifiedToken) => {
    this.asked += 1;
    await this.trouble?.();
    const claims = this.claimsOf.get(subject);
    await this.holdBack?.();
    if (!claims) return null;
    const { tenant, theme }: Claims = previous ?? {};
    return { ...claims, ...(tenant ? { tenant } : {}), ...(theme ? { theme } : {}) };
  };
}
