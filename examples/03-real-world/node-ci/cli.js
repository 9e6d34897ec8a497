#!/usr/bin/env node
import { roman } from "./index.js";

try {
  console.log(roman(Number(process.argv[2])));
} catch {
  console.error("usage: roman NUMBER, from 1 to 3999");
  process.exitCode = 2;
}
