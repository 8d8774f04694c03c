import type { LoggerService } from '@nestjs/common';

/** Everything that Nest's logger was told, instead of on the terminal. */
export class CapturedLog implements LoggerService {
  readonly lines: string[] = [];

  log = (...parts: unknown[]) => this.write('LOG', parts);
  warn = (...parts: unknown[]) => this.write('WARN', parts);
  error = (...parts: unknown[]) => this.write('ERROR', parts);
  fatal = (...parts: unknown[]) => this.write('FATAL', parts);
  debug = (...parts: unknown[]) => this.write('DEBUG', parts);
  verbose = (...parts: unknown[]) => this.write('VERBOSE', parts);

  get text(): string {
    return this.lines.join('\n');
  }

  clear(): void {
    this.lines.length = 0;
  }

  private write(level: string, parts: unknown[]): void {
    this.lines.push(`${level} ${parts.map(textOf).join(' ')}`);
  }
}

function textOf(part: unknown): string {
  if (part instanceof Error) return part.stack ?? part.message;
  return typeof part === 'object' ? JSON.stringify(part) : String(part);
}
