import { Injectable, RequestMethod, type Type } from '@nestjs/common';
import { MODULE_PATH, PATH_METADATA, VERSION_METADATA } from '@nestjs/common/constants.js';
import { ApplicationConfig, ModulesContainer } from '@nestjs/core';
import { RoutePathFactory } from '@nestjs/core/router/route-path-factory.js';
import { RefreshTokenController } from './refresh-token.controller.js';

/** A path that is the same in every request: without parameters, wildcards and optional parts. */
const LITERAL = /^\/[\w\-.~/@$&',=%]*$/;

/**
 * Where Nest serves the refresh route, asked of the class that Nest itself builds paths with: global
 * prefix and exclusions from it, `RouterModule`, versions in the URI.
 */
@Injectable()
export class RefreshRoute {
  private known: readonly string[] | undefined;

  constructor(
    private readonly application: ApplicationConfig,
    private readonly modules: ModulesContainer,
  ) {}

  /** As routers write them: more than one where a subclass of the controller is served as well. */
  get paths(): readonly string[] {
    // Not before somebody asks: a prefix may be set until the application listens.
    this.known ??= this.read();
    return this.known;
  }

  /** The only path, where it is the same in every request. */
  get path(): string | undefined {
    const [path, ...others] = this.paths;
    return path !== undefined && others.length === 0 && LITERAL.test(path) ? path : undefined;
  }

  private read(): string[] {
    return [...this.modules.values()].flatMap(({ metatype, controllers }) =>
      [...controllers.values()].flatMap(({ metatype: controller }) =>
        isRefreshController(controller) ? this.pathsOf(controller, metatype) : [],
      ),
    );
  }

  private pathsOf(controller: Type<RefreshTokenController>, module: Type): string[] {
    const { application, modules } = this;
    const factory = new RoutePathFactory(application);
    const versioningOptions = application.getVersioning();
    const handler = controller.prototype.refresh;
    const paths: string[] = [Reflect.getMetadata(PATH_METADATA, controller)].flat();
    return paths.flatMap((ctrlPath) =>
      factory.create(
        {
          ctrlPath: withSlash(ctrlPath),
          methodPath: Reflect.getMetadata(PATH_METADATA, handler),
          modulePath:
            Reflect.getMetadata(MODULE_PATH + modules.applicationId, module) ??
            Reflect.getMetadata(MODULE_PATH, module),
          globalPrefix: withSlash(application.getGlobalPrefix()),
          methodVersion: Reflect.getMetadata(VERSION_METADATA, handler),
          controllerVersion:
            versioningOptions &&
            (Reflect.getMetadata(VERSION_METADATA, controller) ?? versioningOptions.defaultVersion),
          versioningOptions,
        },
        RequestMethod.POST,
      ),
    );
  }
}

function isRefreshController(type: unknown): type is Type<RefreshTokenController> {
  return typeof type === 'function' && type.prototype instanceof RefreshTokenController;
}

function withSlash(path: string): string {
  return path === '' || path.startsWith('/') ? path : `/${path}`;
}
