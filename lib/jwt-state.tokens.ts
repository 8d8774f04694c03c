/** Injection tokens for what has no class of its own. */
export const CONFIG = Symbol('jwt-state:config');
export const ASSEMBLY = Symbol('jwt-state:assembly');
export const FIXED_OPTIONS = Symbol('jwt-state:fixed-options');
/** What was checked before anything is made. */
export const WIRING = Symbol('jwt-state:wiring');
/** The guard, where it guards every route. */
export const GLOBAL_GUARD = Symbol('jwt-state:global-guard');
export const JWKS = Symbol('jwt-state:jwks');
export const STORE = Symbol('jwt-state:store');
/** Override it with a {@link Clock} of your own in tests that must not wait. */
export const CLOCK = Symbol('jwt-state:clock');
