#!/bin/sh
# Trains toklip-mini: sh train.sh [the command of toklip]. Run again after an interruption: what is finished is kept, what
# was begun goes on from its last checkpoint.
set -eu
toklip=${1:-npx toklip}

stage() {
  [ -e "runs/$2/model.safetensors" ] && return
  resume=
  [ -d "runs/$2/checkpoints" ] && resume=--resume
  $toklip train "$1" --config "configs/$2.json" --out "runs/$2" $resume
}

[ -e data/tokenizer.json ] || $toklip train tokenizer data/captions.txt --vocab-size 4096 --out data/tokenizer.json
stage vq vq
stage vq vq-final
stage vq vq-decoder
stage teacher teacher
stage teacher teacher-final
stage toklip toklip
