import { SetMetadata } from '@nestjs/common';

const KEY = Symbol.for('nestjs-jwt-state:leaves-reissuing');

/** Marks a route that replaces the token itself: the guard reads the fresh claims and stops there. */
export const LeavesReissuing = () => SetMetadata(KEY, true);

LeavesReissuing.KEY = KEY;
