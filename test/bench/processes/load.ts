import { connect, type Socket } from 'node:net';
import { answerCalls } from './rpc.js';

/*
 * The client. It shares two cores with what it measures, so it does as little as a client can: raw
 * sockets, requests that were put together beforehand, an answer that looks like the last one is
 * not taken apart. One request at a time on each connection, no pipelining.
 */

export interface Target {
  readonly name: string;
  readonly port: number;
  readonly path: string;
  readonly tokens: readonly string[];
}

export interface Run {
  readonly target: string;
  readonly connections: number;
  readonly milliseconds: number;
}

export interface RunResult {
  readonly requests: number;
  readonly seconds: number;
  /** Share of the time for which this process was busy: near 1, it measures itself. */
  readonly busy: number;
}

const HOST = '127.0.0.1';
const targets = new Map<string, { port: number; requests: readonly Buffer[] }>();

answerCalls({
  prepare: ({ name, port, path, tokens }: Target) => {
    const requests = tokens.map((token) =>
      Buffer.from(
        `GET ${path} HTTP/1.1\r\nHost: ${HOST}:${port}\r\nAccept: application/json\r\n` +
          `Authorization: Bearer ${token}\r\n\r\n`,
      ),
    );
    targets.set(name, { port, requests });
  },
  forget: () => targets.clear(),
  once,
  run,
});

/** Every token once: what a token's first sight costs is not what these tables are about. */
async function once({ target, connections }: Omit<Run, 'milliseconds'>): Promise<void> {
  const found = targets.get(target);
  if (!found) throw new Error(`Nobody has prepared ${target}.`);
  const { port, requests } = found;
  let next = 0;
  const pick = () => requests[next++ % requests.length] as Buffer;
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)));
  await Promise.all(sockets.map((socket) => drive(socket, pick, () => next < requests.length)));
}

async function run({ target, connections, milliseconds }: Run): Promise<RunResult> {
  const found = targets.get(target);
  if (!found) throw new Error(`Nobody has prepared ${target}.`);
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(found.port)));
  const pick = picker(found.requests);
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const end = begun + milliseconds;
  const counts = await Promise.all(
    sockets.map((socket) => drive(socket, pick, () => performance.now() < end)),
  );
  const elapsed = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  return {
    requests: counts.reduce((sum, count) => sum + count, 0),
    seconds: elapsed / 1_000,
    busy: (user + system) / 1_000 / elapsed,
  };
}

/**
 * At random, and with one seed for everybody. In turn would be the worst case of any cache that is
 * smaller than the set, and no traffic looks like that.
 */
function picker(requests: readonly Buffer[]): () => Buffer {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return requests[(state >>> 0) % requests.length] as Buffer;
  };
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: HOST, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Asks as long as it is to go on. @returns how many answers came */
function drive(socket: Socket, pick: () => Buffer, goesOn: () => boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    let count = 0;
    let received = '';
    let usual = 0;
    const next = () => {
      count += 1;
      if (goesOn()) {
        socket.write(pick());
      } else {
        resolve(count);
        socket.destroy();
      }
    };
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('The server has closed the connection.')));
    socket.on('data', (chunk) => {
      if (received === '' && chunk.length === usual && isOk(chunk)) return next();
      received += chunk.toString('latin1');
      const length = lengthOf(received);
      if (length === undefined || received.length < length) return;
      if (!received.startsWith('HTTP/1.1 200')) {
        socket.destroy(new Error(`Not the answer that is measured here: ${received}`));
        return;
      }
      usual = length;
      received = '';
      next();
    });
    socket.write(pick());
  });
}

const [TWO, ZERO] = [0x32, 0x30];

function isOk(chunk: Buffer): boolean {
  return chunk[9] === TWO && chunk[10] === ZERO && chunk[11] === ZERO;
}

function lengthOf(received: string): number | undefined {
  const head = received.indexOf('\r\n\r\n');
  if (head < 0) return undefined;
  const length = /\r\ncontent-length: (\d+)/i.exec(received.slice(0, head))?.[1];
  if (length === undefined) throw new Error('The answer does not say how long it is.');
  return head + 4 + Number(length);
}
