import 'reflect-metadata';
import { pathToFileURL } from 'node:url';
import {
  Controller,
  Get,
  Injectable,
  Module,
  type ModuleMetadata,
  Post,
  UseGuards,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

type Library = typeof import('nestjs-jwt-state');

/*
 * An application in which two copies of the library meet: `node two-copies.js <index.js> <index.js>`.
 * Prints what became of each case as JSON.
 */
const [ours, other] = (await Promise.all(
  process.argv.slice(2).map((path) => import(pathToFileURL(path).href)),
)) as [Library, Library];

const options = {
  keys: { algorithm: 'HS256', secret: 'x'.repeat(40) },
  claims: () => ({}),
} as const;
const rootModule = (guard?: 'global') => ours.JwtStateModule.forRoot({ ...options, guard });

@Controller()
class ReadingController {
  @Get('me')
  me(@other.CurrentToken('sub') sub: string) {
    return { sub };
  }

  @other.Public()
  @Get('open')
  open() {
    return {};
  }
}

@Controller()
class ReissuingController {
  @Post('plan')
  @other.ReissuesToken()
  change() {}
}

@Controller()
@UseGuards(other.JwtStateGuard)
class GuardedController {
  @Get('me')
  me() {}
}

@Injectable()
class LogOut {
  constructor(readonly tokens: InstanceType<Library['TokenService']>) {}
}
Reflect.defineMetadata('design:paramtypes', [other.TokenService], LogOut);

class OwnGuard extends other.JwtStateGuard {}

async function reading() {
  const app = await started({ imports: [rootModule('global')], controllers: [ReadingController] });
  const { accessToken } = await app.get(ours.TokenService).issue('alice');
  const headers = { authorization: `Bearer ${accessToken}` };
  const url = await app.getUrl();
  const me = await (await fetch(`${url}/me`, { headers })).json();
  const open = (await fetch(`${url}/open`)).status;
  await app.close();
  return { me, open };
}

async function started(metadata: ModuleMetadata) {
  @Module(metadata)
  class AppModule {}
  const app = await NestFactory.create(AppModule, { logger: false, abortOnError: false });
  return app.listen(0, '127.0.0.1').then(() => app);
}

async function bootError(metadata: ModuleMetadata): Promise<string> {
  return started(metadata).then(
    () => 'boots',
    (error) => `${error.code}: ${error.message}`,
  );
}

const imports = [rootModule()];
const results = {
  reading: await reading(),
  reissuing: await bootError({
    imports: [rootModule('global')],
    controllers: [ReissuingController],
  }),
  guard: await bootError({ imports, controllers: [GuardedController] }),
  ownGuard: await bootError({ imports, providers: [OwnGuard] }),
  service: await bootError({ imports, providers: [LogOut] }),
  module: await bootError({ imports: [...imports, other.JwtStateModule.forRoot(options)] }),
};
console.log(JSON.stringify(results));
process.exit();
