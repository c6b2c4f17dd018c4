;; The two passes of a separable filter over 8-bit samples on 128-bit SIMD; `convolve-u8.ts` computes the same bytes
;; without it. Sums are 32-bit fixed point with 22 fraction bits and begin at one half; results are clamped to a byte.
;;
;; Addresses are in bytes. Every count of taps is at least 1. Both functions read and write up to 16 bytes past the end
;; of a row: what they write there, the next row overwrites, so only the last one needs room behind it.
;; `starts` and `counts` hold an i32 for each output; the weights of output i begin at `weights + i * tapBytes`.
;;
;; After a change: node scripts/assemble-kernel.mjs
(module
  (memory (export "memory") 1)

  ;; (height, inputWidth, samples) to (height, width, samples), for 1 to 4 samples: a vector holds one pixel's sums.
  ;; `starts` are in bytes from the beginning of a row.
  (func (export "rows")
    (param $input i32) (param $inputStride i32) (param $height i32) (param $samples i32)
    (param $starts i32) (param $counts i32) (param $weights i32) (param $tapBytes i32) (param $width i32)
    (param $output i32)
    (local $x i32) (local $row i32) (local $at i32) (local $tap i32) (local $end i32) (local $sum v128)
    (loop $nextRow
      (local.set $x (i32.const 0))
      (local.set $row (local.get $weights))
      (loop $nextPixel
        (local.set $sum (i32x4.splat (i32.const 0x200000)))
        (local.set $at (i32.add (local.get $input) (i32.load (i32.add (local.get $starts) (local.get $x)))))
        (local.set $tap (local.get $row))
        (local.set $end
          (i32.add (local.get $tap) (i32.shl (i32.load (i32.add (local.get $counts) (local.get $x))) (i32.const 2))))
        (loop $nextTap
          (local.set $sum
            (i32x4.add
              (local.get $sum)
              (i32x4.mul
                (v128.load32_splat (local.get $tap))
                (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $at)))))))
          (local.set $at (i32.add (local.get $at) (local.get $samples)))
          (local.set $tap (i32.add (local.get $tap) (i32.const 4)))
          (br_if $nextTap (i32.lt_u (local.get $tap) (local.get $end))))
        (local.set $sum (i32x4.shr_s (local.get $sum) (i32.const 22)))
        (local.set $sum (i16x8.narrow_i32x4_s (local.get $sum) (local.get $sum)))
        (v128.store32_lane 0 (local.get $output) (i8x16.narrow_i16x8_u (local.get $sum) (local.get $sum)))
        (local.set $output (i32.add (local.get $output) (local.get $samples)))
        (local.set $row (i32.add (local.get $row) (local.get $tapBytes)))
        (local.set $x (i32.add (local.get $x) (i32.const 4)))
        (br_if $nextPixel (i32.lt_u (local.get $x) (i32.shl (local.get $width) (i32.const 2)))))
      (local.set $input (i32.add (local.get $input) (local.get $inputStride)))
      (local.set $height (i32.sub (local.get $height) (i32.const 1)))
      (br_if $nextRow (local.get $height))))

  ;; Rows of `rowLength` samples to `height` rows, 16 columns at a time. `starts` are in bytes from the input.
  (func (export "columns")
    (param $input i32) (param $rowLength i32)
    (param $starts i32) (param $counts i32) (param $weights i32) (param $tapBytes i32) (param $height i32)
    (param $output i32)
    (local $y i32) (local $x i32) (local $at i32) (local $tap i32) (local $end i32)
    (local $samples v128) (local $weight v128) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (loop $nextRow
      (local.set $x (i32.const 0))
      (local.set $end
        (i32.add (local.get $weights) (i32.shl (i32.load (i32.add (local.get $counts) (local.get $y))) (i32.const 2))))
      (loop $nextColumns
        (local.set $a (i32x4.splat (i32.const 0x200000)))
        (local.set $b (local.get $a))
        (local.set $c (local.get $a))
        (local.set $d (local.get $a))
        (local.set $at
          (i32.add
            (i32.add (local.get $input) (local.get $x))
            (i32.load (i32.add (local.get $starts) (local.get $y)))))
        (local.set $tap (local.get $weights))
        (loop $nextTap
          (local.set $weight (v128.load32_splat (local.get $tap)))
          (local.set $samples (i16x8.extend_low_i8x16_u (v128.load (local.get $at))))
          (local.set $a
            (i32x4.add (local.get $a)
              (i32x4.mul (local.get $weight) (i32x4.extend_low_i16x8_u (local.get $samples)))))
          (local.set $b
            (i32x4.add (local.get $b)
              (i32x4.mul (local.get $weight) (i32x4.extend_high_i16x8_u (local.get $samples)))))
          (local.set $samples (i16x8.extend_high_i8x16_u (v128.load (local.get $at))))
          (local.set $c
            (i32x4.add (local.get $c)
              (i32x4.mul (local.get $weight) (i32x4.extend_low_i16x8_u (local.get $samples)))))
          (local.set $d
            (i32x4.add (local.get $d)
              (i32x4.mul (local.get $weight) (i32x4.extend_high_i16x8_u (local.get $samples)))))
          (local.set $at (i32.add (local.get $at) (local.get $rowLength)))
          (local.set $tap (i32.add (local.get $tap) (i32.const 4)))
          (br_if $nextTap (i32.lt_u (local.get $tap) (local.get $end))))
        (v128.store
          (i32.add (local.get $output) (local.get $x))
          (i8x16.narrow_i16x8_u
            (i16x8.narrow_i32x4_s
              (i32x4.shr_s (local.get $a) (i32.const 22))
              (i32x4.shr_s (local.get $b) (i32.const 22)))
            (i16x8.narrow_i32x4_s
              (i32x4.shr_s (local.get $c) (i32.const 22))
              (i32x4.shr_s (local.get $d) (i32.const 22)))))
        (local.set $x (i32.add (local.get $x) (i32.const 16)))
        (br_if $nextColumns (i32.lt_u (local.get $x) (local.get $rowLength))))
      (local.set $output (i32.add (local.get $output) (local.get $rowLength)))
      (local.set $weights (i32.add (local.get $weights) (local.get $tapBytes)))
      (local.set $y (i32.add (local.get $y) (i32.const 4)))
      (br_if $nextRow (i32.lt_u (local.get $y) (i32.shl (local.get $height) (i32.const 2))))))
)
