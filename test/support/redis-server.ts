import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const HOST = '127.0.0.1';
const READY_WITHIN_MS = 10_000;
const TERMINATED_WITHIN_MS = 5_000;
const PORT_ATTEMPTS = 5;

export interface RedisServerOptions {
  /** Loopback port; a free one by default. */
  port?: number;
  /** More command line arguments, such as `['--maxmemory', '2mb']`. */
  args?: string[];
  /** A configuration file, which comes before all arguments: Sentinel needs one of its own. */
  config?: string;
}

/**
 * A Redis (or Valkey) server of a test's own, which may be stopped, killed and suspended.
 *
 * It keeps nothing on disk, and does not outlive the process that started it.
 *
 * @example
 * const redis = await RedisServer.start();
 * redis.suspend(); // a server that hangs
 * await redis.stop();
 */
export class RedisServer {
  private child: ChildProcess | undefined;
  private exited: Promise<void> = Promise.resolve();

  private constructor(
    readonly port: number,
    private readonly args: readonly string[],
    private readonly config: string | undefined,
  ) {}

  /** Starts a server and waits until it answers PING. */
  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const port = options.port ?? (await freePort());
      const server = new RedisServer(port, options.args ?? [], options.config);
      try {
        await server.spawn();
        return server;
      } catch (error) {
        // Between finding a free port and binding it another process may have taken it.
        const portTaken = String(error).includes('Address already in use');
        if (!portTaken || options.port !== undefined || attempt === PORT_ATTEMPTS) throw error;
      }
    }
  }

  get url(): string {
    return `redis://${HOST}:${this.port}`;
  }

  /** The process id of the running server. */
  get pid(): number {
    if (this.child?.pid === undefined) throw new Error('The Redis server is not running');
    return this.child.pid;
  }

  get running(): boolean {
    return this.child !== undefined;
  }

  /** Ends the server in an orderly way (SIGTERM) and waits until it is gone. */
  async stop(): Promise<void> {
    const child = this.child;
    if (!child) return;
    child.kill('SIGTERM');
    // A suspended process handles SIGTERM only once it goes on.
    child.kill('SIGCONT');
    const impatience = setTimeout(() => child.kill('SIGKILL'), TERMINATED_WITHIN_MS);
    await this.exited;
    clearTimeout(impatience);
  }

  /** Ends the server at once (SIGKILL), as a crash would, and waits until it is gone. */
  async kill(): Promise<void> {
    this.child?.kill('SIGKILL');
    await this.exited;
  }

  /** Lets the server hang: connections stay open, nothing is answered (SIGSTOP). */
  suspend(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  /** Lets a suspended server go on (SIGCONT). */
  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  /** Starts anew on the same port, empty; also after `stop()` and `kill()`. */
  async restart(): Promise<void> {
    await this.stop();
    await this.spawn();
  }

  /** Deletes all entries (FLUSHALL). */
  async flush(): Promise<void> {
    const reply = await inlineCommand(this.port, 'FLUSHALL');
    if (!reply.startsWith('+OK')) throw new Error(`FLUSHALL was answered with: ${reply.trim()}`);
  }

  private async spawn(): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), 'nestjs-jwt-state-redis-'));
    const child = spawn(
      redisBinary(),
      [
        ...(this.config ? [this.config] : []),
        ...['--port', String(this.port), '--bind', HOST, '--dir', directory],
        ...['--save', '', '--appendonly', 'no', '--daemonize', 'no'],
        ...this.args,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );

    let log = '';
    const remember = (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4_000);
    };
    child.stdout.on('data', remember);
    child.stderr.on('data', remember);

    const watchdog = watch(child, directory);
    this.child = child;
    this.exited = new Promise((resolve) => {
      const end = () => {
        watchdog.dismiss();
        rmSync(directory, { recursive: true, force: true });
        if (this.child === child) this.child = undefined;
        resolve();
      };
      child.once('close', end);
      child.once('error', end);
    });

    // A test that forgets its server must neither keep Jest from ending nor leave it behind.
    child.unref();
    (child.stdout as Socket).unref();
    (child.stderr as Socket).unref();

    try {
      await this.untilReady(child);
    } catch (error) {
      await this.kill();
      throw new Error(`The Redis server on port ${this.port} did not start. ${error}\n${log}`);
    }
  }

  private async untilReady(child: ChildProcess): Promise<void> {
    const deadline = Date.now() + READY_WITHIN_MS;
    let last: unknown = 'It ended.';
    while (this.child === child && Date.now() < deadline) {
      try {
        last = await inlineCommand(this.port, 'PING');
        if (last === '+PONG' && (await this.answeredBy(child))) return;
        // With a password set this is an answer as well.
        if (String(last).startsWith('-NOAUTH')) return;
      } catch (error) {
        last = error;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw last;
  }

  /** Whether it is this server that answers, and not another one that has taken the port. */
  private async answeredBy(child: ChildProcess): Promise<boolean> {
    const info = await inlineCommand(this.port, 'INFO server');
    return info.includes(`process_id:${child.pid}\r\n`);
  }
}

/**
 * Kills the server when this process ends, however it ends.
 *
 * Jest's workers may be killed, and in its sandbox `process.on('exit')` is never called. So a shell
 * holds the other end of a pipe: when the pipe closes without a word, this process is gone.
 */
function watch(child: ChildProcess, directory: string): { dismiss(): void } {
  const script =
    'trap "" HUP INT TERM; read -r word; [ "$word" = done ] || { kill -KILL "$1"; rm -rf "$2"; }';
  const watchdog = spawn('/bin/sh', ['-c', script, 'sh', String(child.pid), directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const pipe = watchdog.stdin as Socket;
  pipe.on('error', () => {});
  watchdog.unref();
  pipe.unref();
  return { dismiss: () => pipe.end('done\n') };
}

/** The server's executable on PATH. */
function redisBinary(): string {
  for (const name of ['redis-server', 'valkey-server']) {
    for (const directory of (process.env.PATH ?? '').split(delimiter)) {
      const file = join(directory, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // Not here.
      }
    }
  }
  throw new Error(
    'These tests need a Redis server, and neither redis-server nor valkey-server is on PATH. ' +
      'Install one with: npm run test:setup',
  );
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, HOST, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** Sends one command over a connection of its own and answers the reply's text. */
function inlineCommand(port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect({ port, host: HOST });
    socket.setTimeout(2_000, () => socket.destroy(new Error(`${command} was not answered`)));
    socket.on('connect', () => socket.write(`${command}\r\n`));
    socket.on('data', (chunk) => {
      received += chunk.toString();
      const reply = completeReply(received);
      if (reply === undefined) return;
      resolve(reply);
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`${command}: the connection was closed`)));
  });
}

/** A RESP status, error or bulk string, once all of it has arrived. */
function completeReply(received: string): string | undefined {
  const end = received.indexOf('\r\n');
  if (end < 0) return undefined;
  const line = received.slice(0, end);
  if (!line.startsWith('$')) return line;
  const length = Number(line.slice(1));
  const text = received.slice(end + 2);
  return text.length < length + 2 ? undefined : text.slice(0, length);
}
