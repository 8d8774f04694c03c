/*
 * What is tried with what. Not every combination: each version of Nest in both kinds of modules, each version of Node
 * with the oldest and the newest Nest, and each major of @redis/client with the oldest and the newest Nest.
 */

/** Absent: the Node that runs this script. */
const RUNNING = undefined;

const OLDEST = { nest: '11.1.0', redis: '5.12.1', ioredis: '5' };
const NEWEST = { nest: '12', redis: '6', ioredis: '6' };

/** Each is installed once. `fastify` and `express`, where not every version of Nest has one of its own. */
const APPLICATIONS = [
  OLDEST,
  { nest: '11.1.0', redis: '6', ioredis: '6' },
  // This one and 12.1.2: the last that leave out a request-scoped global guard without a word.
  { nest: '11.2.7', redis: '6', ioredis: '6', fastify: '11.2.6' },
  { nest: '11', redis: '6', ioredis: '6' },
  // Its core was published with a peer range that refuses its own @nestjs/common.
  { nest: '12.0.0', redis: '5.12.1', ioredis: '5', fastify: '12.0.1', legacyPeers: true },
  { nest: '12.0.4', redis: '6', ioredis: '6' },
  { nest: '12.1.2', redis: '6', ioredis: '6', express: '12.1.1', fastify: '12.1.1' },
  { nest: '12', redis: '5.12.1', ioredis: '5' },
  NEWEST,
];

const NODES = ['20.19.0', '22.12.0', '22', '24.0.0', '24'];
const MODULES = ['esm', 'cjs'];

const cellsOf = (applications, nodes) =>
  applications.flatMap((application) =>
    nodes.flatMap((node) => MODULES.map((module) => ({ application, node, module }))),
  );

export const RUN_CELLS = [...cellsOf(APPLICATIONS, [RUNNING]), ...cellsOf([OLDEST, NEWEST], NODES)];
export const QUICK_RUN_CELLS = cellsOf([OLDEST, NEWEST], [RUNNING]);

const commonjs = { module: 'commonjs', moduleResolution: 'node10' };
const nodenext = { module: 'nodenext', moduleResolution: 'nodenext' };

const typing = (application, typescript, type, options) => ({
  application,
  typescript,
  type,
  options,
});

/** The lowest version of TypeScript that the package supports. `nodenext` in CommonJS needs 5.8. */
const LOWEST = '5.2';

export const TYPE_CELLS = [
  typing(OLDEST, LOWEST, 'commonjs', commonjs),
  typing(OLDEST, LOWEST, 'module', { module: 'node16', moduleResolution: 'node16' }),
  typing(OLDEST, LOWEST, 'module', { module: 'esnext', moduleResolution: 'bundler' }),
  typing(OLDEST, '5.7', 'commonjs', commonjs),
  typing(OLDEST, '5.7', 'module', nodenext),
  typing(OLDEST, '5.8', 'commonjs', nodenext),
  typing(NEWEST, LOWEST, 'module', nodenext),
  typing(NEWEST, '5.8', 'commonjs', nodenext),
  typing(NEWEST, '5.8', 'commonjs', commonjs),
  typing(NEWEST, '6.0', 'commonjs', { ...commonjs, ignoreDeprecations: '6.0' }),
  typing(NEWEST, '6.0', 'commonjs', { module: 'commonjs', moduleResolution: 'bundler' }),
  typing(NEWEST, '6.0', 'commonjs', nodenext),
  typing(NEWEST, '6.0', 'module', { module: 'node16', moduleResolution: 'node16' }),
  typing(NEWEST, '6.0', 'module', { module: 'esnext', moduleResolution: 'bundler' }),
];
export const QUICK_TYPE_CELLS = [
  typing(OLDEST, LOWEST, 'commonjs', commonjs),
  typing(NEWEST, '5.8', 'commonjs', nodenext),
];
