import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { mustRun } from './run.mjs';

const QUIET = ['--no-audit', '--no-fund', '--loglevel=error'];

/** A folder for what one run installs; everything is installed at most once. */
export class Workshop {
  #made = new Map();

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'jwt-state-matrix-'));
  }

  /** The package as it would be published. @param tarball one that is packed already */
  async pack(tarball) {
    if (tarball !== undefined) {
      this.tarball = resolve(tarball);
      return;
    }
    await mustRun('npm', ['pack', '--pack-destination', this.directory, ...QUIET]);
    const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'));
    this.tarball = join(this.directory, `${name}-${version}.tgz`);
  }

  /** A small application with the packed package. @returns its folder */
  application({ nest, redis, ioredis, express = nest, fastify = nest, legacyPeers = false }) {
    const major = nest.split('.')[0];
    return this.#once(`nest-${nest}-redis-${redis}`, (folder) =>
      install(folder, [
        ...(legacyPeers ? ['--legacy-peer-deps'] : []),
        this.tarball,
        ...['common', 'core'].map((part) => `@nestjs/${part}@${nest}`),
        ...[`@nestjs/platform-express@${express}`, `@nestjs/platform-fastify@${fastify}`],
        ...[`@nestjs/jwt@${major}`, `@nestjs/passport@${major}`, `@nestjs/testing@${major}`],
        ...[`@redis/client@${redis}`, `ioredis@${ioredis}`],
        ...['passport@0.7', 'reflect-metadata@0.2', 'rxjs@7', '@types/node@20'],
      ]),
    );
  }

  /** @param version absent: the one that runs this script. @returns the path of its binary */
  async node(version) {
    if (version === undefined) return process.execPath;
    // Its installation puts the binary in its place, so it needs its scripts.
    const folder = await this.#once(`node-${version}`, (path) =>
      install(path, [`node@${version}`], []),
    );
    return join(folder, 'node_modules/node/bin/node');
  }

  /** @returns the path of its compiler */
  async typescript(version) {
    const folder = await this.#once(`typescript-${version}`, (path) =>
      install(path, [`typescript@${version}`]),
    );
    return join(folder, 'node_modules/typescript/bin/tsc');
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #once(name, make) {
    const folder = join(this.directory, name);
    const making = this.#made.get(name) ?? make(folder).then(() => folder);
    this.#made.set(name, making);
    return making;
  }
}

async function install(folder, packages, options = ['--ignore-scripts']) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
  await mustRun('npm', ['install', ...QUIET, ...options, ...packages], { cwd: resolve(folder) });
}

/** @returns the version of a package that is installed in a folder */
export function versionIn(folder, name) {
  return JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8'))
    .version;
}
