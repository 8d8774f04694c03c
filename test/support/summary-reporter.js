/** Closes a run with one line that scripts can read: `Tests: N passed, N failed`. */
export default class SummaryReporter {
  onRunComplete(_contexts, results) {
    this.results = results;
  }

  constructor() {
    // Jest always prints its own summary after every other reporter's.
    process.once('exit', () => {
      if (!this.results) return;
      const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites } = this.results;
      // A file that could not even be loaded has no failed tests of its own, and must still show.
      const failed = numFailedTests + numRuntimeErrorTestSuites;
      process.stdout.write(`Tests: ${numPassedTests} passed, ${failed} failed\n`);
    });
  }
}
