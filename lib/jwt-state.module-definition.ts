import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { JwtStateOptions, StaticOptions } from './jwt-state.options.js';

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<Omit<JwtStateOptions, keyof StaticOptions>>({
    moduleName: 'JwtState',
  })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createJwtStateOptions')
    .setExtras<StaticOptions>(
      { guard: undefined, refresh: undefined, jwks: undefined, denyList: undefined },
      (definition) => definition,
    )
    .build();
