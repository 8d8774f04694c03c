import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';

const SAMPLE_EVERY_MICROSECONDS = 200;

/** Where the time of a slice goes; `node --cpu-prof` would show the start of the process above all. */
export class CpuProfile {
  private readonly session = new Session();

  async start(): Promise<void> {
    this.session.connect();
    await this.session.post('Profiler.enable');
    await this.session.post('Profiler.setSamplingInterval', {
      interval: SAMPLE_EVERY_MICROSECONDS,
    });
    await this.session.post('Profiler.start');
  }

  async write(file: string): Promise<void> {
    const { profile } = await this.session.post('Profiler.stop');
    this.session.disconnect();
    writeFileSync(file, JSON.stringify(profile));
  }
}
