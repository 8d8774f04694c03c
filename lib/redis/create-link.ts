import { ClusterLink } from './cluster.link.js';
import { GivenClientLink } from './given-client.link.js';
import type { LinkListener, RedisLink } from './redis-link.js';
import type { RedisDenyListConfig } from './resolve-options.js';
import { SentinelLink } from './sentinel.link.js';
import { type LinkSettings, StandaloneLink } from './standalone.link.js';

export function createLink(
  { target, commandsQueueMaxLength }: RedisDenyListConfig,
  parts: Omit<LinkSettings, 'commandsQueueMaxLength'>,
  listener: LinkListener,
): RedisLink {
  const settings = { commandsQueueMaxLength, ...parts };
  switch (target.kind) {
    case 'server':
      return new StandaloneLink(target.options, settings, listener);
    case 'sentinel':
      return new SentinelLink(target.options, settings, listener);
    case 'cluster':
      return new ClusterLink(target.options, settings, listener);
    case 'client':
      return new GivenClientLink(target.client, listener);
  }
}
