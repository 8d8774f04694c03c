const sourceCondition = 'nestjs-jwt-state/source';

const base = {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: [sourceCondition, 'node', 'node-addons'] },
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/build/'],
  setupFiles: ['reflect-metadata'],
  transform: { '^.+\\.ts$': ['@swc/jest'] },
};

const withRedis = {
  globalSetup: '<rootDir>/test/support/redis.global-setup.ts',
  globalTeardown: '<rootDir>/test/support/redis.global-teardown.ts',
};

/** @type {import('jest').Config} */
export default {
  maxWorkers: 2,
  // No test measures time by it: a machine that is ten times slower is slow, and not wrong.
  testTimeout: 120_000,
  reporters: ['default', '<rootDir>/test/support/summary-reporter.js'],
  coverageProvider: 'babel',
  collectCoverageFrom: ['lib/**/*.ts'],
  projects: [
    {
      ...base,
      displayName: 'unit',
      testMatch: ['<rootDir>/test/**/*.spec.ts'],
      testPathIgnorePatterns: ['<rootDir>/test/(e2e|faults|browser)/'],
    },
    {
      ...base,
      ...withRedis,
      displayName: 'e2e',
      testMatch: ['<rootDir>/test/e2e/**/*.spec.ts'],
    },
    {
      ...base,
      ...withRedis,
      displayName: 'faults',
      testMatch: ['<rootDir>/test/faults/**/*.spec.ts'],
    },
    {
      ...base,
      displayName: 'browser',
      globalSetup: '<rootDir>/test/support/browser.global-setup.ts',
      testMatch: ['<rootDir>/test/browser/**/*.spec.ts'],
    },
  ],
};
