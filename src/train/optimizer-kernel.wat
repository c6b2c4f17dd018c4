;; The arithmetic of the optimizer on 128-bit SIMD; `optimizer-loops.ts` computes the same bits without it.
;;
;; Every address is in bytes and a multiple of 16. Counts are in elements and are rounded up to whole vectors, so an
;; array needs room for a multiple of 4 elements (of 8 in `squares`); what lies behind the end is computed and ignored.
;; Every operation is one IEEE 754 operation in single precision (in `squares`, double), in the order that is written.
;; Nothing is fused and nothing is "relaxed": every machine gives the same bits.
;; Loops test at their end: with the test at their beginning V8 makes them a quarter slower.
;;
;; After a change: node scripts/assemble-kernel.mjs
(module
  (import "host" "memory" (memory 0))

  (func (export "adamw")
    (param $count i32) (param $p i32) (param $m i32) (param $v i32) (param $g i32)
    (param $scale f32) (param $decay f32)
    (param $keep1 f32) (param $take1 f32) (param $keep2 f32) (param $take2 f32)
    (param $correction f32) (param $epsilon f32) (param $rate f32)
    (local $at i32) (local $end i32) (local $gradient v128) (local $first v128) (local $second v128)
    ;; Splatted once: the compiler does not move a splat out of a loop.
    (local $SCALE v128) (local $DECAY v128)
    (local $KEEP1 v128) (local $TAKE1 v128) (local $KEEP2 v128) (local $TAKE2 v128)
    (local $CORRECTION v128) (local $EPSILON v128) (local $RATE v128)
    (local.set $SCALE (f32x4.splat (local.get $scale)))
    (local.set $DECAY (f32x4.splat (local.get $decay)))
    (local.set $KEEP1 (f32x4.splat (local.get $keep1)))
    (local.set $TAKE1 (f32x4.splat (local.get $take1)))
    (local.set $KEEP2 (f32x4.splat (local.get $keep2)))
    (local.set $TAKE2 (f32x4.splat (local.get $take2)))
    (local.set $CORRECTION (f32x4.splat (local.get $correction)))
    (local.set $EPSILON (f32x4.splat (local.get $epsilon)))
    (local.set $RATE (f32x4.splat (local.get $rate)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    (block $none
      (br_if $none (i32.eqz (local.get $count)))
      (loop $next
        ;; gradient = g * scale
        (local.set $gradient
          (f32x4.mul (v128.load (i32.add (local.get $g) (local.get $at))) (local.get $SCALE)))
        ;; m = m * keep1 + gradient * take1
        (local.set $first
          (f32x4.add
            (f32x4.mul (v128.load (i32.add (local.get $m) (local.get $at))) (local.get $KEEP1))
            (f32x4.mul (local.get $gradient) (local.get $TAKE1))))
        (v128.store (i32.add (local.get $m) (local.get $at)) (local.get $first))
        ;; v = v * keep2 + (gradient * gradient) * take2
        (local.set $second
          (f32x4.add
            (f32x4.mul (v128.load (i32.add (local.get $v) (local.get $at))) (local.get $KEEP2))
            (f32x4.mul (f32x4.mul (local.get $gradient) (local.get $gradient)) (local.get $TAKE2))))
        (v128.store (i32.add (local.get $v) (local.get $at)) (local.get $second))
        ;; p = p * decay - rate * (m / (sqrt(v) * correction + epsilon))
        (v128.store (i32.add (local.get $p) (local.get $at))
          (f32x4.sub
            (f32x4.mul (v128.load (i32.add (local.get $p) (local.get $at))) (local.get $DECAY))
            (f32x4.mul
              (local.get $RATE)
              (f32x4.div
                (local.get $first)
                (f32x4.add
                  (f32x4.mul (f32x4.sqrt (local.get $second)) (local.get $CORRECTION))
                  (local.get $EPSILON))))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))

  ;; mean = mean * keep + values * take
  (func (export "average")
    (param $count i32) (param $mean i32) (param $values i32) (param $keep f32) (param $take f32)
    (local $at i32) (local $end i32) (local $KEEP v128) (local $TAKE v128)
    (local.set $KEEP (f32x4.splat (local.get $keep)))
    (local.set $TAKE (f32x4.splat (local.get $take)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    (block $none
      (br_if $none (i32.eqz (local.get $count)))
      (loop $next
        (v128.store (i32.add (local.get $mean) (local.get $at))
          (f32x4.add
            (f32x4.mul (v128.load (i32.add (local.get $mean) (local.get $at))) (local.get $KEEP))
            (f32x4.mul (v128.load (i32.add (local.get $values) (local.get $at))) (local.get $TAKE))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))

  ;; sum = sum + addend
  (func (export "add") (param $count i32) (param $sum i32) (param $addend i32)
    (local $at i32) (local $end i32)
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    (block $none
      (br_if $none (i32.eqz (local.get $count)))
      (loop $next
        (v128.store (i32.add (local.get $sum) (local.get $at))
          (f32x4.add
            (v128.load (i32.add (local.get $sum) (local.get $at)))
            (v128.load (i32.add (local.get $addend) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))

  ;; sums[i % 8] = sums[i % 8] + values[i] * values[i], the eight sums in double precision
  (func (export "squares") (param $count i32) (param $values i32) (param $sums i32)
    (local $at i32) (local $end i32) (local $four v128) (local $two v128)
    (local $s01 v128) (local $s23 v128) (local $s45 v128) (local $s67 v128)
    (local.set $s01 (v128.load (local.get $sums)))
    (local.set $s23 (v128.load offset=16 (local.get $sums)))
    (local.set $s45 (v128.load offset=32 (local.get $sums)))
    (local.set $s67 (v128.load offset=48 (local.get $sums)))
    (local.set $at (local.get $values))
    (local.set $end (i32.add (local.get $values) (i32.shl (local.get $count) (i32.const 2))))
    (block $none
      (br_if $none (i32.eqz (local.get $count)))
      (loop $next
        (local.set $four (v128.load (local.get $at)))
        (local.set $two (f64x2.promote_low_f32x4 (local.get $four)))
        (local.set $s01 (f64x2.add (local.get $s01) (f64x2.mul (local.get $two) (local.get $two))))
        (local.set $two
          (f64x2.promote_low_f32x4
            (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $four) (local.get $four))))
        (local.set $s23 (f64x2.add (local.get $s23) (f64x2.mul (local.get $two) (local.get $two))))
        (local.set $four (v128.load offset=16 (local.get $at)))
        (local.set $two (f64x2.promote_low_f32x4 (local.get $four)))
        (local.set $s45 (f64x2.add (local.get $s45) (f64x2.mul (local.get $two) (local.get $two))))
        (local.set $two
          (f64x2.promote_low_f32x4
            (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $four) (local.get $four))))
        (local.set $s67 (f64x2.add (local.get $s67) (f64x2.mul (local.get $two) (local.get $two))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end)))))
    (v128.store (local.get $sums) (local.get $s01))
    (v128.store offset=16 (local.get $sums) (local.get $s23))
    (v128.store offset=32 (local.get $sums) (local.get $s45))
    (v128.store offset=48 (local.get $sums) (local.get $s67))))
