import assert from "node:assert/strict";
import { test } from "node:test";
import { roman } from "roman";

test("small numbers subtract", () => {
  assert.deepEqual([1, 4, 9, 14, 40, 90, 400, 900].map(roman), ["I", "IV", "IX", "XIV", "XL", "XC", "CD", "CM"]);
});

test("what the Romans could not write is an error", () => {
  assert.equal(roman(3999), "MMMCMXCIX");
  for (const number of [0, 4000, 1.5, NaN]) assert.throws(() => roman(number), RangeError);
});
