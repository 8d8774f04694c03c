/** Which entries the server sends news of: no others may be kept in this process. */
export class TrackedNames {
  /** @param beginnings of their names; none begins like another one, or Redis refuses them */
  constructor(readonly beginnings: readonly string[]) {}

  cover(name: string): boolean {
    return this.beginnings.some((beginning) => name.startsWith(beginning));
  }
}
