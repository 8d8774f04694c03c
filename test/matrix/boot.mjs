/*
 * What differs from one version of Nest to another when an application starts. Run it where the packed
 * package and a version of Nest are installed: `node boot.mjs` prints `ok`, or throws.
 */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { Controller, Get, Inject, Injectable, Module, Post, Scope } from '@nestjs/common';
import { APP_GUARD, INQUIRER, NestFactory, REQUEST } from '@nestjs/core';
import {
  CurrentToken,
  JwtStateGuard,
  JwtStateModule,
  ReissuesToken,
  TokenService,
} from 'nestjs-jwt-state';
import { actAs } from 'nestjs-jwt-state/testing';

const keys = { algorithm: 'HS256', secret: 'x'.repeat(40) };
const claims = () => ({ role: 'admin' });

/** A class as a compiler would leave it: with its decorators and what its constructor takes. */
function injectable(type, takes = [], options = {}) {
  Injectable(options)(type);
  Reflect.defineMetadata(
    'design:paramtypes',
    takes.map((token) => (typeof token === 'function' ? token : Object)),
    type,
  );
  for (const [index, token] of takes.entries())
    if (typeof token !== 'function') Inject(token)(type, undefined, index);
  return type;
}

function handler(type, name, ...decorators) {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, name);
  for (const decorate of decorators) decorate(type.prototype, name, descriptor);
}

function module(metadata) {
  class AnyModule {}
  Module(metadata)(AnyModule);
  return AnyModule;
}

class MeController {
  me(token) {
    return { role: token.role };
  }
  change() {
    return { changed: true };
  }
}
Controller()(MeController);
handler(MeController, 'me', Get('me'));
CurrentToken()(MeController.prototype, 'me', 0);
handler(MeController, 'change', Post('change'), ReissuesToken());

const silent = { logger: false, abortOnError: false };

async function bootError(root) {
  let app;
  try {
    app = await NestFactory.create(root, silent);
    await app.listen(0, '127.0.0.1');
  } catch (error) {
    return error.message;
  }
  const { status } = await fetch(`${await app.getUrl()}/me`);
  await app.close();
  throw new assert.AssertionError({
    message: `It did boot, and answered ${status} without a token.`,
  });
}

// 1. Options that depend on something request-scoped, near or far.
class Tenant {}
injectable(Tenant, [], { scope: Scope.REQUEST });
class Durable {}
injectable(Durable, [], { scope: Scope.REQUEST, durable: true });
class OfRequest {}
injectable(OfRequest, [REQUEST]);
class Connection {}
injectable(Connection, [Tenant]);
class Users {}
injectable(Users, [Connection]);
class ByProperty {}
injectable(ByProperty);
Inject(Tenant)(ByProperty.prototype, 'tenant');
class Logs {}
injectable(Logs, [Tenant, INQUIRER], { scope: Scope.TRANSIENT });

const options = () => ({ keys, claims });
const usersModule = module({ providers: [Tenant, Connection, Users], exports: [Users] });
const reExporting = module({ imports: [usersModule], exports: [usersModule] });
class Settings {
  createJwtStateOptions = options;
}
injectable(Settings, [Users]);
const settingsModule = module({
  imports: [usersModule],
  providers: [Settings],
  exports: [Settings],
});
const of = (...providers) =>
  module({ providers, exports: providers.map((each) => each.provide ?? each) });
const factory = (inject, imports, inner = {}) => ({
  inject,
  imports,
  useFactory: options,
  ...inner,
});

const requestScoped = [
  ['Tenant', factory([Tenant], [of(Tenant)])],
  ['Tenant', factory([Users], [usersModule])],
  ['Tenant', factory([Users], [reExporting])],
  ['Tenant', factory([{ token: Users, optional: true }], [usersModule])],
  ['Tenant', { imports: [usersModule], useClass: Settings }],
  ['Tenant', { imports: [settingsModule], useExisting: Settings }],
  ['Tenant', factory([ByProperty], [of(Tenant, ByProperty)])],
  ['Tenant', factory([Logs], [of(Tenant, Logs)])],
  ['Tenant', factory(['alias'], [of(Tenant, { provide: 'alias', useExisting: Tenant })])],
  ['Durable', factory([Durable], [of(Durable)])],
  [
    'pool',
    factory(['pool'], [of({ provide: 'pool', scope: Scope.REQUEST, useFactory: () => ({}) })]),
  ],
  [
    'Tenant',
    factory(['made'], [of(Tenant, { provide: 'made', inject: [Tenant], useFactory: () => ({}) })]),
  ],
  ['REQUEST', factory([REQUEST], [])],
  ['REQUEST', factory([OfRequest], [of(OfRequest)])],
];
for (const [name, given] of requestScoped) {
  for (const guard of ['global', undefined]) {
    const imports = [JwtStateModule.forRootAsync({ ...given, guard })];
    const message = await bootError(module({ imports, controllers: [MeController] }));
    assert.match(
      message,
      new RegExp(`^JwtStateModule depends on ${name}, which is request-scoped \\(options → `),
    );
  }
}

// The same of a global guard that the application makes of ours.
class OwnGuard extends JwtStateGuard {}
const guardTakes = Reflect.getMetadata('design:paramtypes', JwtStateGuard);
injectable(OwnGuard, [...guardTakes, Tenant]);
for (const provider of [{ useClass: OwnGuard }, { useExisting: OwnGuard }]) {
  const message = await bootError(
    module({
      imports: [JwtStateModule.forRoot({ keys, claims })],
      controllers: [MeController],
      providers: [Tenant, OwnGuard, { provide: APP_GUARD, ...provider }],
    }),
  );
  assert.match(message, /An APP_GUARD .* depends on Tenant, which is request-scoped/);
}

// A guard that says so itself is made for each request.
class ScopedGuard extends JwtStateGuard {
  async canActivate(context) {
    await super.canActivate(context);
    return context.switchToHttp().getRequest().user.role === 'admin';
  }
}
Injectable({ scope: Scope.REQUEST })(ScopedGuard);
await serving(
  module({
    imports: [JwtStateModule.forRoot({ keys, claims })],
    controllers: [MeController],
    providers: [{ provide: APP_GUARD, useClass: ScopedGuard }],
  }),
  async ({ get, token }) => {
    assert.equal((await get()).status, 401);
    assert.equal((await get(token)).status, 200);
  },
);

// What is transient, or only looks like it, boots.
class Plain {}
injectable(Plain, [INQUIRER], { scope: Scope.TRANSIENT });
await serving(
  module({
    imports: [JwtStateModule.forRootAsync({ ...factory([Plain], [of(Plain)]), guard: 'global' })],
    controllers: [MeController],
    providers: [Tenant],
  }),
  async ({ get, token }) => {
    assert.equal((await get()).status, 401);
    assert.equal((await get(token)).status, 200);
  },
);

// 2. A roles guard of the root module sees what the global guard has found.
const order = [];
class RolesGuard {
  canActivate(context) {
    const { user } = context.switchToHttp().getRequest();
    order.push(user?.role);
    return user?.role === 'admin';
  }
}
injectable(RolesGuard);
class ScopedRolesGuard extends RolesGuard {}
injectable(ScopedRolesGuard, [], { scope: Scope.REQUEST });
for (const type of [RolesGuard, ScopedRolesGuard]) {
  await serving(
    module({
      imports: [JwtStateModule.forRoot({ keys, claims, guard: 'global' })],
      controllers: [MeController],
      providers: [{ provide: APP_GUARD, useClass: type }],
    }),
    async ({ get, token }) => {
      assert.equal((await get()).status, 401);
      assert.deepEqual(order.splice(0), []);
      assert.equal((await get(token)).status, 200);
      assert.deepEqual(order.splice(0), ['admin', 'admin']);
    },
    (app) => app.useGlobalGuards(new RolesGuard()),
  );
}

// 3. A guard that asks ours.
class KeyOrToken {
  constructor(guard) {
    this.guard = guard;
  }
  canActivate(context) {
    const { headers } = context.switchToHttp().getRequest();
    return headers['x-api-key'] === 'k' || this.guard.canActivate(context);
  }
}
injectable(KeyOrToken, [JwtStateGuard]);
await serving(
  module({
    imports: [JwtStateModule.forRoot({ keys, claims })],
    controllers: [MeController],
    providers: [{ provide: APP_GUARD, useClass: KeyOrToken }],
  }),
  async ({ get, token, url }) => {
    const change = (headers) => fetch(`${url}/change`, { method: 'POST', headers });
    assert.equal((await get()).status, 401);
    assert.equal((await get(token)).status, 200);
    assert.equal((await change({ 'x-api-key': 'k' })).status, 401);
    const changed = await change({ authorization: `Bearer ${token}` });
    assert.equal(changed.status, 201);
    assert.match(changed.headers.get('authorization'), /^Bearer /);
  },
);

// 4. Acting as a user, with the module and without it.
for (const imports of [[JwtStateModule.forRoot({ keys, claims, guard: 'global' })], []]) {
  const app = await NestFactory.create(module({ imports, controllers: [MeController] }), silent);
  await actAs(app, 'alice', { role: 'tester' });
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  assert.deepEqual(await (await fetch(`${url}/me`)).json(), { role: 'tester' });
  assert.equal((await fetch(`${url}/change`, { method: 'POST' })).status, 201);
  await actAs(app, null);
  const status = imports.length > 0 ? 401 : 500;
  assert.equal((await fetch(`${url}/change`, { method: 'POST' })).status, status);
  await app.close();
}

async function serving(root, work, prepare = () => {}) {
  const app = await NestFactory.create(root, silent);
  try {
    prepare(app);
    await app.listen(0, '127.0.0.1');
    const { accessToken } = await app.get(TokenService).issue('alice');
    const url = await app.getUrl();
    const get = (token) =>
      fetch(`${url}/me`, { headers: token ? { authorization: `Bearer ${token}` } : {} });
    await work({ get, url, token: accessToken });
  } finally {
    await app.close();
  }
}

console.log('ok');
