import { RequestLog } from './request-log.js';
import { shortId } from './token-lives.js';

/** The browser's `fetch`, with what went over the wire written down. */
export class WatchedFetch {
  readonly log = new RequestLog();
  /** Every token this device has sent or got, in that order. A real page would not keep them. */
  private readonly tokens: string[] = [];

  constructor(private readonly changed: () => void) {}

  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const sent = this.keep(request.headers.get('authorization'));
    const response = await fetch(request);
    const got = this.keep(response.headers.get('authorization'));
    this.log.add({
      at: Date.now(),
      request: `${request.method} ${new URL(request.url).pathname}`,
      answer: await answerOf(response),
      note: [sent && `sent ${sent}`, got && `got ${got}`].filter(Boolean).join(', '),
    });
    this.changed();
    return response;
  };

  /** A log-in brings its token in the body. */
  keep(credential: string | null): string | undefined {
    const token = credential?.replace(/^Bearer /, '');
    if (!token) return undefined;
    if (!this.tokens.includes(token)) this.tokens.push(token);
    return shortId(String(payloadOf(token).jti));
  }

  /** The last token before the one in use. */
  olderThan(jti: string | undefined): string | undefined {
    return this.tokens.findLast((token) => payloadOf(token).jti !== jti);
  }
}

async function answerOf(response: Response): Promise<string> {
  if (response.ok) return String(response.status);
  const { code = '' } = (await response
    .clone()
    .json()
    .catch(() => ({}))) as { code?: string };
  return `${response.status} ${code}`;
}

function payloadOf(token: string): { jti?: string } {
  const part = token.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/') ?? '';
  return JSON.parse(atob(part)) as { jti?: string };
}
