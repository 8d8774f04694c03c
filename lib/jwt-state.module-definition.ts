import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { DenyListOptions, JwtStateOptions, StaticOptions } from './jwt-state.options.js';

/** What a factory may give; that `denyList` is not `false` is checked at boot. */
type FactoryOptions = Omit<JwtStateOptions, keyof StaticOptions> & {
  denyList?: DenyListOptions | false;
};

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<FactoryOptions>({
    moduleName: 'JwtState',
  })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createJwtStateOptions')
    .setExtras<StaticOptions>(
      { guard: undefined, refresh: undefined, jwks: undefined, denyList: undefined },
      (definition) => definition,
    )
    .build();
