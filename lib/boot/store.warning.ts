import { Logger } from '@nestjs/common';
import type { DenyListStore } from '../deny-list/deny-list.store.js';
import { memoryNotice } from '../deny-list/memory-notice.js';
import type { JwtStateConfig } from '../jwt-state.config.js';

/** What the store of the deny list cannot do, in the log of the boot. */
export function warnAboutStore(config: JwtStateConfig, store: DenyListStore): void {
  const logger = new Logger('JwtStateModule');
  if (!config.denyList.isOn) {
    logger.log(
      `There is no deny list: a token that was replaced or logged out works until its exp, up to ${
        config.accessTokenLifetime / 1000
      } s.`,
    );
  } else if (store.ephemeral) {
    logger.warn(memoryNotice(config.denyList));
  } else if (store.atomic === 'process') {
    logger.warn(
      'The store of the deny list has no atomic "set if absent": parallel requests in different ' +
        'processes may end with more than one successor of a token. Redis through @keyv/redis has it.',
    );
  }
}
