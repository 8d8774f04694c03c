import { describe, expect, it } from '@jest/globals';
import { SCENES, SMALL } from './session/scenes.js';
import { explore, exploreEvery, shrink } from './session/schedule.js';

/*
 * The promises of SECURITY.md, over schedules of several processes on one store: with faults, deaths, lost
 * responses, skewed clocks and a failover that loses writes. `session/run.ts` tries more of them, and
 * `session/mutants.ts` switches each defence off.
 */

/** So many schedules of each scene; the numbers of the thorough runs stand in `session/run.ts`. */
const SCHEDULES = 40;
const EVERY_ORDER = ['request, change, one fault', 'handler, one fault and a silence'];

describe('In schedules drawn by chance, with clocks apart, faults and deaths, the promises are kept:', () => {
  it.each(Object.entries(SCENES))('%s', async (_, scene) => {
    const found = await explore(scene, SCHEDULES);
    expect(found && (await shrink(scene, found))).toBeUndefined();
  });

  it.each(Object.entries(SCENES))(
    '%s, where a replacement arrives when it is confirmed',
    async (_, scene) => {
      const found = await explore(scene, SCHEDULES / 4, { seed: 77, arrivesWhenConfirmed: true });
      expect(found && (await shrink(scene, found))).toBeUndefined();
    },
  );
});

describe('In every order of steps the promises are kept:', () => {
  it.each(EVERY_ORDER)('%s', async (name) => {
    const scene = SMALL[name] as (typeof SMALL)[string];
    const { runs, found } = await exploreEvery(scene, 2_000);
    expect(found && (await shrink(scene, found))).toBeUndefined();
    expect(runs).toBeGreaterThan(300);
  });
});
