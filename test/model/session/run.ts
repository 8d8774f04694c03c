import { SCENES, SMALL } from './scenes.js';
import { explore, exploreEvery, shrink } from './schedule.js';

/*
 * node --import @swc-node/register/esm-register test/model/session/run.ts [schedules a scene] [name=value ...]
 *
 * scene=part of a name · only=small|large · seed=n · confirmed=true (arrival by the confirmed replacement)
 */
const [count = '1000', ...rest] = process.argv.slice(2);
const given = new Map(rest.map((arg) => arg.split('=') as [string, string]));
const part = given.get('scene') ?? '';
const arrivesWhenConfirmed = given.get('confirmed') === 'true';
const seed = Number(given.get('seed') ?? 1);
const limit = Number(given.get('limit') ?? 200_000);
let failed = 0;
const began = Date.now();

if (given.get('only') !== 'large') {
  for (const [name, scene] of Object.entries(SMALL)) {
    if (!name.includes(part)) continue;
    const { runs, found } = await exploreEvery(scene, limit, arrivesWhenConfirmed).catch(
      (error: Error) => ({ runs: error.message, found: undefined }),
    );
    console.log(`${name}: ${runs} orders${found ? '' : ', none breaks a promise'}`);
    if (found) console.log((await shrink(scene, found)).join('\n'), ++failed);
  }
}
if (given.get('only') !== 'small') {
  for (const [name, scene] of Object.entries(SCENES)) {
    if (!name.includes(part)) continue;
    const found = await explore(scene, Number(count), { seed, arrivesWhenConfirmed });
    console.log(`${name}: ${found ? found.violation : 'none breaks a promise'}`);
    if (found) console.log((await shrink(scene, found)).join('\n'), ++failed);
  }
}
console.log(`${failed} scenes with a violation, ${Date.now() - began} ms`);
process.exitCode = failed > 0 ? 1 : 0;
