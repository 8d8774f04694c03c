import type { Duration } from 'nestjs-jwt-state';

/** A setting that the service cannot do without. */
export function required(name: string): string {
  const value = process.env[name];
  if (value) return value;
  throw new Error(`${name} is not set. \`npm run start:services\` sets it.`);
}

export function portOf(name: string, fallback: number): number {
  const port = Number(process.env[name] || fallback);
  if (Number.isInteger(port) && port >= 0 && port < 65_536) return port;
  throw new Error(`${name} must be the number of a port.`);
}

/** `undefined` leaves it to the module's default. The module checks the value at boot. */
export function durationOf(name: string): Duration | undefined {
  return (process.env[name] || undefined) as Duration | undefined;
}

/** Begins every key in Redis, so that others may use the same server. */
export function keyPrefix(): string {
  return process.env.KEY_PREFIX || 'services:';
}
