export { redisDenyList } from './redis-deny-list.js';
export {
  NearCopyOptions,
  type RedisClusterSettings,
  type RedisDenyListOptions,
  RedisDenyListSettings,
  type RedisSentinelSettings,
  type RedisServerOptions,
} from './redis-deny-list.options.js';
