import { request as httpRequest } from 'node:http';
import type { INestApplication, ModuleMetadata, Type } from '@nestjs/common';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import {
  JwtStateModule,
  type JwtStateOptions,
  TokenDelivery,
  TokenEvents,
  TokenIssuer,
  TokenService,
  type VerifiedToken,
} from 'nestjs-jwt-state';
import { overrideJwtState, TestClock, TestToken } from 'nestjs-jwt-state/testing';
import { AccountController, MeController } from './account.controller.js';
import { CapturedLog } from './captured-log.js';
import { closeStores, STORES, type StoreKind, TestStore } from './test-store.js';
import { Users } from './users.js';

export const PLATFORMS = ['Express', 'Fastify'] as const;
export type Platform = (typeof PLATFORMS)[number];
/** Every platform with every store: the rows of `describe.each`. */
export const MATRIX = PLATFORMS.flatMap((platform) =>
  STORES.map((store): [Platform, StoreKind] => [platform, store]),
);

export const SECRET = 'the test suite signs with this, and nobody else does';

/** The time of all applications under test. */
export const clock = new TestClock();
/** What all of them have logged since the test began. */
export const log = new CapturedLog();

const running = new Set<TestApp>();
/** Every token that was issued, sent or received: none may be seen in a log line. */
const confidential = new Set<string>([SECRET]);

export interface TestAppSettings {
  platform?: Platform;
  /** Shared with another application, or one of its own. */
  store?: TestStore | StoreKind;
  options?: Partial<JwtStateOptions>;
  controllers?: Type[];
  /** `false`: only what {@link MeController} answers, for services that cannot reissue. */
  account?: boolean;
  imports?: ModuleMetadata['imports'];
  providers?: ModuleMetadata['providers'];
  users?: Users;
  /** Before it listens: CORS, global interceptors. */
  prepare?: (app: INestApplication) => void;
}

/** Starts an application with `JwtStateModule` that listens on a free port of 127.0.0.1. */
export async function startApp(settings: TestAppSettings = {}): Promise<TestApp> {
  const { controllers = [], imports = [], providers = [], options = {} } = settings;
  const users = settings.users ?? new Users();
  const store =
    settings.store instanceof TestStore
      ? settings.store
      : TestStore.create(settings.store ?? 'memory');
  const { denyList, ...rest } = options;
  const module = JwtStateModule.forRoot({
    keys: { algorithm: 'HS256', secret: SECRET },
    claims: users.claims,
    ...rest,
    // Long, because it is not what these tests are about, and their machine may be busy.
    denyList: denyList !== false && {
      lookupTimeout: '5s',
      ...(await store.connect()),
      ...denyList,
    },
  });
  const testing = Test.createTestingModule({
    imports: [module, ...imports],
    controllers: [settings.account === false ? MeController : AccountController, ...controllers],
    providers: [{ provide: Users, useValue: users }, ...providers],
  });
  const compiled = await overrideJwtState(testing, { clock }).setLogger(log).compile();
  const nest =
    settings.platform === 'Fastify'
      ? compiled.createNestApplication(new FastifyAdapter({ forceCloseConnections: true }))
      : compiled.createNestApplication(new ExpressAdapter(), { forceCloseConnections: true });
  settings.prepare?.(nest);
  try {
    await nest.listen(0, '127.0.0.1');
  } catch (error) {
    await nest.close();
    throw error;
  }
  const app = new TestApp(nest, await nest.getUrl(), users, store);
  running.add(app);
  return app;
}

/** A running application, and a client that talks to it over HTTP. */
export class TestApp {
  readonly events: TokenEvents;
  readonly delivery: TokenDelivery;

  constructor(
    readonly nest: INestApplication,
    readonly url: string,
    readonly users: Users,
    readonly store: TestStore,
  ) {
    this.events = nest.get(TokenEvents);
    this.delivery = nest.get(TokenDelivery);
  }

  get tokens(): TokenService {
    return this.nest.get(TokenService);
  }

  /** What there is without a deny list, too. */
  get issuer(): TokenIssuer {
    return this.nest.get(TokenIssuer);
  }

  /** A log-in: a new session of the user, and its first token. */
  async logIn(user: string | number = 'alice', claims?: Record<string, unknown>): Promise<string> {
    return (await this.logInFor(user, claims)).accessToken;
  }

  /** The same, with its refresh token. */
  async logInFor(
    user: string | number = 'alice',
    claims?: Record<string, unknown>,
  ): Promise<{ accessToken: string; refreshToken: string }> {
    const { accessToken, refreshToken = '' } = await this.issuer.issue(user, claims);
    confidential.add(accessToken);
    if (refreshToken !== '') confidential.add(refreshToken);
    return { accessToken, refreshToken };
  }

  /** Something changes a user from elsewhere: an administrator, a webhook. */
  async change(user: string, claims: Record<string, unknown>): Promise<void> {
    this.users.set(user, claims);
    await this.tokens.markStale({ sub: user });
  }

  get(path: string, token?: string, headers?: Record<string, string>): Promise<Reply> {
    return this.request('GET', path, { token, headers });
  }

  post(path: string, token?: string, body?: unknown): Promise<Reply> {
    return this.request('POST', path, { token, body });
  }

  /** @param settings.body JSON; `URLSearchParams` are sent as a form */
  async request(
    method: string,
    path: string,
    {
      token,
      headers = {},
      body,
    }: { token?: string | undefined; headers?: Record<string, string> | undefined; body?: unknown },
  ): Promise<Reply> {
    const isForm = body instanceof URLSearchParams;
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && !isForm && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isForm ? body : JSON.stringify(body) }),
    });
    if (token) confidential.add(token);
    return replyOf(response.status, response.headers, await response.text());
  }

  /** A request whose headers are sent exactly so, doubled ones included. */
  send(path: string, headers: Record<string, string | string[]>, method = 'GET'): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const options = { method, headers, agent: false };
      const request = httpRequest(this.url + path, options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const received = new Headers();
          for (const [name, values] of Object.entries(response.headersDistinct)) {
            for (const value of values ?? []) received.append(name, value);
          }
          resolve(replyOf(response.statusCode ?? 0, received, Buffer.concat(chunks).toString()));
        });
      });
      request.on('error', reject);
      request.end();
    });
  }

  close(): Promise<void> {
    running.delete(this);
    return this.nest.close();
  }
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed where it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly body: any;
  /** The token that the `Authorization` header of the response brought. */
  readonly token: string | undefined;
}

function replyOf(status: number, headers: Headers, text: string): Reply {
  const token = /^Bearer (.+)$/.exec(headers.get('authorization') ?? '')?.[1];
  if (token) confidential.add(token);
  if (status >= 400) refuseToLeak(text, 'the body of an error');
  const body = parsed(text);
  for (const received of tokensOf(body)) confidential.add(received);
  return { status, headers, body, token };
}

/** What the answer of a token endpoint holds (RFC 6749 §5.1). */
function tokensOf(body: unknown): string[] {
  const { access_token, refresh_token } = (body ?? {}) as Record<string, unknown>;
  return [access_token, refresh_token].filter((token) => typeof token === 'string');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The payload of a token, unverified. */
export function claimsOf(token: string | undefined): VerifiedToken {
  if (token === undefined) throw new Error('There is no token.');
  return new TestToken(token).claims;
}

/** That neither the secret, nor a token that was used, nor the signature of one is in there. */
export function refuseToLeak(text: string, where: string): void {
  for (const secret of confidential) {
    const signature = secret.split('.')[2] ?? '';
    const isLeaked = [secret, signature].some((part) => part.length > 16 && text.includes(part));
    if (isLeaked) throw new Error(`A secret was found in ${where}: ${text}`);
  }
}

/** For `afterEach`: ends what the test has started, and looks through everything it has logged. */
export async function closeApps(): Promise<void> {
  await Promise.all([...running].map((app) => app.close()));
  await closeStores();
  clock.reset();
  const { text } = log;
  log.clear();
  refuseToLeak(text, 'the log');
}
