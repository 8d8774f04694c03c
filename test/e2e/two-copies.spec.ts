import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CompiledProgram } from '../support/compiled-program.js';

describe('Two copies of the package in one application', () => {
  const SCRIPT = 'test/support/two-copies.ts';
  let copies: [CompiledProgram, CompiledProgram];
  let results: Record<string, unknown>;

  beforeAll(async () => {
    copies = await Promise.all([CompiledProgram.of(SCRIPT), CompiledProgram.of()]);
    const paths = [copies[0].pathOf(SCRIPT), ...copies.map((copy) => copy.pathOf('lib/index.ts'))];
    const { stdout } = await promisify(execFile)(process.execPath, paths);
    results = JSON.parse(stdout);
  }, 120_000);

  afterAll(() => {
    for (const copy of copies) copy.remove();
  });

  it('find each other’s token and @Public()', () => {
    expect(results.reading).toEqual({ me: { sub: 'alice' }, open: 200 });
  });

  it.each([
    ['reissuing', 'TokenReissueInterceptor'],
    ['guard', 'JwtStateGuard'],
    ['module', 'JwtStateModule'],
  ])('stop the boot where they would not understand each other: %s', (name, used) => {
    expect(results[name]).toContain(
      `CONFIG_INVALID: There are two copies of nestjs-jwt-state in this application: ${used}`,
    );
    expect(results[name]).toContain('npm ls nestjs-jwt-state');
  });
  it.each([
    ['ownGuard', 'OwnGuard'],
    ['service', 'LogOut'],
  ])('stop the boot by Nest’s own message where it comes first: %s', (name, user) => {
    expect(results[name]).toMatch(
      new RegExp(`two copies of nestjs-jwt-state|Nest can't resolve dependencies of the ${user}`),
    );
  });
});
