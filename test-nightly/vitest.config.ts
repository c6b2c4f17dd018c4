import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test-nightly/**/*.test.ts"], pool: "forks", reporters: ["default", "./test/closing-line.ts"] },
});
