// A vitest reporter that ends the run with one plain line: `N passed, N failed`. Before it come the files that did not
// finish: those whose process died, which vitest does not name.
import type { Reporter, TestModule } from "vitest/node";

/** The line that names a file whose process died before its end, and the first test without a result. */
function unfinished(module: TestModule): string[] {
  if (module.state() !== "pending" && module.state() !== "queued") return [];
  const [first] = [...module.children.allTests()].filter((test) => test.result().state === "pending");
  return [`did not finish: ${module.relativeModuleId}${first === undefined ? "" : `, from "${first.fullName}"`}\n`];
}

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandled.length;
    let skipped = 0;
    for (const module of modules) {
      failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed++;
        else if (state === "skipped") skipped++;
        else failed++;
      }
    }
    const died = modules.flatMap(unfinished).join("");
    // Last of all reporters' output, so that a reader of the log finds it on the final line.
    process.on("exit", () => {
      const rest = skipped > 0 ? `, ${skipped} skipped` : "";
      process.stdout.write(`\n${died}${passed} passed, ${failed} failed${rest}\n`);
    });
  }
}
