import type { Locks, TokenStorage } from 'nestjs-jwt-state/client';

/*
 * What a browser has and Node 20 has not.
 */

/** The `localStorage` of one origin. */
export class PageStorage implements TokenStorage {
  readonly items = new Map<string, string>();

  getItem(name: string): string | null {
    return this.items.get(name) ?? null;
  }

  setItem(name: string, text: string): void {
    this.items.set(name, text);
  }
}

/** One that is forbidden, or full. */
export class BrokenStorage implements TokenStorage {
  getItem(): string | null {
    throw new Error('SecurityError');
  }

  setItem(): void {
    throw new Error('QuotaExceededError');
  }
}

/** The Web Locks of one origin: exclusive, first come, first served. */
export class PageLocks implements Locks {
  private readonly tails = new Map<string, Promise<unknown>>();

  async request<T>(
    name: string,
    { signal }: { signal?: AbortSignal },
    run: () => Promise<T>,
  ): Promise<T> {
    const before = this.tails.get(name);
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.tails.set(name, Promise.all([before, held]));
    try {
      await Promise.race([before, rejected(signal)]);
      return await run();
    } finally {
      release();
    }
  }
}

function rejected(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason));
  });
}

/** A `fetch` with the cookies of one browser, for one host. */
export class CookieJar {
  readonly cookies = new Map<string, { value: string; path: string }>();

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { pathname } = new URL(request.url);
    const sent = [...this.cookies].filter(([, { path }]) => pathname.startsWith(path));
    const hasCookies = request.credentials === 'include' && sent.length > 0;
    const cookie = sent.map(([name, { value }]) => `${name}=${value}`).join('; ');
    if (hasCookies) request.headers.set('cookie', cookie);
    const response = await fetch(request);
    if (request.credentials === 'include') response.headers.getSetCookie().forEach(this.take);
    return response;
  };

  private readonly take = (line: string): void => {
    const [pair = '', ...attributes] = line.split('; ');
    const at = pair.indexOf('=');
    const name = pair.slice(0, at);
    const path = attributes.find((text) => text.startsWith('Path='))?.slice(5) ?? '/';
    if (attributes.includes('Max-Age=0')) this.cookies.delete(name);
    else this.cookies.set(name, { value: pair.slice(at + 1), path });
  };
}
