import { SetMetadata } from '@nestjs/common';

const KEY = Symbol.for('nestjs-jwt-state:accepts-refresh-token');

/** Marks the route where a refresh token takes the place of an access token. */
export const AcceptsRefreshToken = () => SetMetadata(KEY, true);

AcceptsRefreshToken.KEY = KEY;
