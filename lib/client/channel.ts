import { readSession, type Session } from './session.js';
import { unref } from './surroundings.js';

/** What tabs say to each other. A session that is not one is left out by who hears it. */
interface Message {
  readonly session: Session | undefined;
  /** Asks all who hold another session to say so. */
  readonly isHello?: boolean;
}

export type Post = (session: Session | undefined, isHello?: boolean) => void;

/** The tie to other tabs. `undefined` where there is none, or where cookies are blocked. */
export function openChannel(
  name: string,
  onMessage: (session: Session | undefined, isHello: boolean) => void,
): { post: Post; close(): void } | undefined {
  try {
    const channel = new BroadcastChannel(name);
    unref(channel);
    channel.onmessage = (message: unknown) => {
      const { session, isHello } = Object((message as { data: unknown }).data) as Message;
      onMessage(readSession(session), isHello === true);
    };
    return {
      post: (session, isHello) => channel.postMessage({ session, isHello } satisfies Message),
      close: () => channel.close(),
    };
  } catch {
    return undefined;
  }
}
