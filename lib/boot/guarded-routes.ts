import { Injectable, type Type } from '@nestjs/common';
import { GUARDS_METADATA } from '@nestjs/common/constants.js';
import { ApplicationConfig, DiscoveryService, MetadataScanner, Reflector } from '@nestjs/core';

export type Handler = (...args: unknown[]) => unknown;

/** A method that Nest may call for a request, and what stands before it. */
export interface Route {
  readonly controller: Type;
  readonly handler: Handler;
  /** For messages: `AccountController.me`. */
  readonly name: string;
  /** Classes and instances, without the global ones. */
  readonly guards: readonly unknown[];
}

/** The routes of the application and their guards, as Nest itself reads them. */
@Injectable()
export class GuardedRoutes {
  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly reflector: Reflector,
    private readonly application: ApplicationConfig,
  ) {}

  /** Of controllers. */
  all(): Route[] {
    return this.discovery.getControllers().flatMap((controller) => this.of(controller));
  }

  /** Of gateways, resolvers and the like as well, which are providers. */
  everything(): Route[] {
    return [...this.all(), ...this.discovery.getProviders().flatMap((each) => this.of(each))];
  }

  /** Before every route, as classes or instances. */
  globalGuards(): unknown[] {
    return [
      ...this.application.getGlobalGuards(),
      ...this.application.getGlobalRequestGuards().map(({ metatype }) => metatype),
    ];
  }

  private of({ metatype, inject }: ReturnType<DiscoveryService['getProviders']>[number]): Route[] {
    const isClass = typeof metatype === 'function' && !inject && metatype.prototype;
    if (!isClass) return [];
    const controller = metatype as Type;
    const methods = this.scanner.getAllMethodNames(controller.prototype);
    return methods.flatMap((method) => {
      const handler: Handler | undefined = controller.prototype[method];
      if (!handler) return [];
      const targets = [handler, controller];
      const guards = this.reflector.getAllAndMerge<unknown[]>(GUARDS_METADATA, targets);
      return { controller, handler, name: `${controller.name}.${method}`, guards };
    });
  }
}
