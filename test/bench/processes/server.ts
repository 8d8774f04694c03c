import 'reflect-metadata';
import type { Running, Setup } from '../contenders/contender.js';
import { contenderNamed } from '../contenders/index.js';
import { CpuProfile } from './cpu-profile.js';
import { answerCalls } from './rpc.js';

/** One contender: an HTTP server, and nothing else in this process. */
let running: Running | undefined;
const profile = new CpuProfile();

answerCalls({
  start: async ({ contender, ...setup }: Setup & { contender: string }) => {
    running = await contenderNamed(contender).start(setup);
    return { port: running.port, tokens: running.tokens };
  },
  /** Spent so far, in microseconds. */
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  startProfile: () => profile.start(),
  writeProfile: (file: string) => profile.write(file),
});
