import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/*
 * Each defence of the rules, switched off: then the model finds a schedule that breaks a promise.
 *
 * node --import @swc-node/register/esm-register test/model/session/mutants.ts [schedules a scene] [part of a name]
 */

/** A defence, as text: what it is, and what the code is without it. */
export interface Mutant {
  readonly name: string;
  /** Below `lib`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Where it shows: parts of the names of scenes. */
  readonly scenes: readonly string[];
  /** With arrival by the confirmed replacement. */
  readonly confirmed?: boolean;
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'the grace period begins before anybody has the new token',
    file: 'session/reissuer.ts',
    find: 'const made = { n, at, arrived: false };',
    replace: 'const made = { n, at, arrived: true };',
    scenes: ['long silence'],
  },
  {
    name: 'a session leaves a scope without a check that it was not revoked',
    file: 'session/reissuer.ts',
    find: '...left.map((scope) => keys.scope(scope))]',
    replace: ']',
    scenes: ['move, request, tenant shut'],
  },
  {
    name: 'the same at a refresh',
    file: 'session/refresher.ts',
    find: '...left.map((scope) => keys.scope(scope))]',
    replace: ']',
    scenes: ['move, refresh, tenant shut'],
  },
  {
    name: 'a token whose replacement has gone is refused',
    file: 'session/token-resolver.ts',
    find: 'function refuse({ state }: Verdict): void {',
    replace:
      "function refuse({ state }: Verdict): void {\n  if (state === 'superseded') throw new TokenSupersededError();",
    scenes: ['long silence', 'requests, handler'],
  },
  {
    name: 'a reissue goes on from its token, and not from where the session is',
    file: 'session/choices.ts',
    find: 'if (!choices || token.seen.origin !== undefined) return token;',
    replace: 'if (choices || !choices) return token;',
    scenes: ['switch, refresh', 'explicit choices'],
  },
  {
    name: 'the newest older arrival is forgotten',
    file: 'state/generations.ts',
    find: 'const kept: Generation[] = floor ? [floor] : [];',
    replace: 'const kept: Generation[] = floor ? [] : [];',
    scenes: ['an old copy of the token', 'many generations'],
  },
  {
    name: 'a winner without the explicit changes is taken',
    file: 'session/token-resolver.ts',
    find: 'if (isTip && this.carries(token, request))',
    replace: 'if (isTip && (true || this.carries(token, request)))',
    scenes: ['explicit choices', 'choices and changes'],
  },
  {
    name: 'a request takes the reissue of another one as it is',
    file: 'session/token-resolver.ts',
    find: `      await running.catch(() => {});
      return undefined;`,
    replace: '      return (await running.catch(() => undefined)) as IssuedToken | undefined;',
    scenes: ['requests that share a reissue'],
  },
  {
    name: 'a revoked session counts as one that was only marked',
    file: 'session/conflict.ts',
    find: 'if (now.isRevoked || currentOf',
    replace: 'if (currentOf',
    scenes: ['request, change, log-out', 'revoked session'],
  },
  {
    name: 'deadlines of other handlers are not kept',
    file: 'state/stale-mark.ts',
    find: 'if (until > now && owner !== closes)',
    replace: 'if (until < 0)',
    scenes: ['two handlers, requests'],
  },
  {
    name: 'a handler runs before anything is marked',
    file: 'session/commit-protocol.ts',
    find: 'const mark = this.parts.composer.hasSource ? await',
    replace: 'const mark = !this.parts.composer.hasSource ? await',
    scenes: ['handler, a death', 'requests, handler'],
  },
  {
    name: 'the deadline of a handler that failed is closed',
    file: 'session/commit-protocol.ts',
    find: '{ closes: owner, opens }, value',
    replace: '{ closes: owner }, value',
    scenes: ['failing and slow handlers'],
  },
  {
    name: 'marks are read after the claims',
    file: 'session/composer.ts',
    find: 'const next = withClaims(token, claims);',
    replace: `const next = withClaims(token, claims);
      const { keys: names } = this.reader;
      look = await this.reader.look([names.session(token.sid), names.history(token.sid), ...this.scopes.keysOf(place), ...this.scopes.keysOf(next)]);`,
    scenes: ['request, request, change', 'requests, handler'],
  },
  {
    name: 'uses of refresh tokens are written over each other',
    file: 'session/refresher.ts',
    find: 'const read = [keys.history(access.sid), ',
    replace: 'const read = [',
    scenes: ['parallel refreshes', 'ten parallel refreshes', 'thief'],
  },
  {
    name: 'tokens are dated by clocks, and not in the order of commits',
    file: 'session/standing.ts',
    find: 'latestKnown(standing, generations) + 2,',
    replace: '0,',
    scenes: ['refresh and reissues', 'five seconds either way', 'many generations'],
  },
  {
    name: 'a reissue is not judged by where the session is',
    file: 'session/reissuer.ts',
    find: 'if (standings.isRevoked(place, look)) throw',
    replace: 'if (!standings) throw',
    scenes: ['tenant switch by choice', 'two tabs and tenants'],
  },
  {
    name: 'a refresh is not judged by where the session is',
    file: 'session/standing.ts',
    find: 'const state = look.stateOf(place, this.scopes.of(place));',
    replace: 'const state = look.stateOf(presented, this.scopes.of(presented));',
    scenes: ['tenant switch by choice', 'two tabs and tenants'],
  },
  {
    name: 'the grace period is judged again in the course of a request',
    file: 'session/standing.ts',
    find: 'return isAdmitted && verdict',
    replace: 'return !verdict && verdict',
    scenes: ['long silence', 'many generations', 'requests, handler'],
  },
  {
    name: 'an explicit change covers up a mark that came in between',
    file: 'session/conflict.ts',
    find: 'return !bringsMark || now.stale?.id === before.stale?.id;',
    replace: 'return true;',
    scenes: ['a choice, and a change that comes in between', 'session marks'],
  },
  {
    name: 'an explicit change brings no mark of its own',
    file: 'session/reissuer.ts',
    find: 'const ownMark = request.changes && newMarkId(this.parts.clock.now());',
    replace: 'const ownMark = undefined as string | undefined;',
    scenes: ['two tabs, a token each', 'short-lived tokens', 'explicit choices'],
  },
  {
    name: 'a repetition that moves is dated like one that writes nothing',
    file: 'session/refresher.ts',
    find: 'const at = isUse || chosen ? later',
    replace: 'const at = isUse ? later',
    scenes: ['tenant moves by source', 'tenant switch by choice'],
  },
  {
    name: 'exp is not judged again when the store has answered',
    file: 'session/standing.ts',
    find: 'if (this.clock.now() >= exp * 1000 + clockTolerance) throw',
    replace: 'if (this.clock.now() < clockTolerance && exp) throw',
    scenes: ['short-lived tokens'],
  },
  {
    name: 'a process that was frozen takes its own delay for reuse',
    file: 'session/refresher.ts',
    find: 'if (monotonic() - begunAt > JUDGED_WITHIN) {',
    replace: 'if (monotonic() < begunAt) {',
    scenes: ['parallel refreshes', 'thief'],
  },
  {
    name: 'a second look of a request is judged as a second use',
    file: 'session/refresher.ts',
    find: "if (!isFirst) return 'repeat';",
    replace: '',
    scenes: ['parallel refreshes', 'ten parallel refreshes', 'refresh and reissues'],
  },
  {
    name: 'a change joins one that was sent before it',
    file: 'state/state-updater.ts',
    find: 'for (const { resolve } of sent) resolve(value);',
    replace:
      'for (const { resolve } of sent) resolve(value);\n        for (const { resolve } of this.take(queue)) resolve(value);',
    scenes: ['changes elsewhere at once'],
  },
  {
    name: 'a token that is made while a handler works is final',
    file: 'session/composer.ts',
    find: 'return ahead.length > 0 ? Math.min(...ahead) : undefined;',
    replace: 'return ahead.length > 9999 ? 0 : undefined;',
    scenes: ['request, handler', 'handler, a death', 'requests, handler'],
  },
  {
    name: 'a reissue knows of revocations that came after its session',
    file: 'session/composer.ts',
    find: 'const entered = isOurs ? this.scopes.missing(next, place) : this.scopes.of(next);',
    replace: 'const entered = this.scopes.of(next);',
    scenes: ['others out', 'log out everywhere and log-ins', 'tenant moves by source'],
  },
  {
    name: 'a session that has ended logs out the others',
    file: 'session/others-revoker.ts',
    find: 'if (isRevoked) throw',
    replace: 'if (!place) throw',
    scenes: ['two devices log each other out'],
  },
  {
    name: 'the caller that logs out the others is judged by what it once read',
    file: 'session/others-revoker.ts',
    find: '(value === judgedBy ? written : undefined)',
    replace: '(value !== undefined && value === written ? undefined : written)',
    scenes: ['two devices log each other out'],
  },
  {
    name: 'a mark is written over whatever stands there',
    file: 'state/state-updater.ts',
    find: 'const checks: Check[] = [{ key, expected: queue.expected }];',
    replace: 'const checks: Check[] = [];',
    scenes: ['log out everywhere', 'others out', 'two handlers'],
  },
];

const run = promisify(execFile);
const root = new URL('../../../', import.meta.url).pathname;

/** What the model finds without a defence. @returns the promise that is broken; `undefined`: none */
export async function tryWithout(mutant: Mutant, schedules: number): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'mutant-'));
  try {
    for (const part of ['lib', 'test/model/session', 'package.json', 'tsconfig.json', '.swcrc']) {
      await cp(join(root, part), join(directory, part), { recursive: true });
    }
    await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
    const path = join(directory, 'lib', mutant.file);
    const text = await readFile(path, 'utf8');
    if (text.split(mutant.find).length !== 2)
      throw new Error(`${mutant.name}: its text is not there`);
    await writeFile(
      path,
      text.replace(mutant.find, () => mutant.replace),
    );
    for (const scene of mutant.scenes) {
      const found = await explored(directory, scene, schedules, mutant.confirmed ?? false);
      if (found) return `${found}   [${scene}]`;
    }
    return undefined;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function explored(
  directory: string,
  scene: string,
  schedules: number,
  confirmed: boolean,
): Promise<string | undefined> {
  const args = [
    '--import',
    '@swc-node/register/esm-register',
    'test/model/session/run.ts',
    String(schedules),
    `scene=${scene}`,
    `confirmed=${confirmed}`,
  ];
  try {
    await run(process.execPath, args, { cwd: directory, maxBuffer: 1e8 });
    return undefined;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    const broken = /!! (\(\d\).*)/.exec(stdout)?.[1];
    if (broken) return broken;
    throw new Error(`${stdout.slice(-500)}\n${stderr.slice(-2_000)}`);
  }
}

if (process.argv[1]?.endsWith('mutants.ts')) {
  const [schedules = '1500', part = ''] = process.argv.slice(2);
  let survivors = 0;
  for (const mutant of MUTANTS.filter(({ name }) => name.includes(part))) {
    const broken = await tryWithout(mutant, Number(schedules)).catch(
      (error: Error) => `ERROR ${error.message}`,
    );
    if (!broken || broken.startsWith('ERROR')) survivors += 1;
    console.log(`${mutant.name}: ${broken ?? 'NOTHING FOUND'}`);
  }
  console.log(`${MUTANTS.length} defences, ${survivors} without effect`);
  process.exitCode = survivors > 0 ? 1 : 0;
}
