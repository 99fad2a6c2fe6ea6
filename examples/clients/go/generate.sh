#!/bin/sh
# Generates ./chronosv1 from the wire contract. It needs protoc, protoc-gen-go and protoc-gen-go-grpc on the PATH.
set -eu
cd "$(dirname "$0")"
protos="${1:-../../../protos}"
module=example.com/chronos-client
map=
for file in run prediction coordinator; do
    map="$map${map:+,}Mchronos/v1/$file.proto=$module/chronosv1"
done
protoc --proto_path="$protos" \
    --go_out=. --go_opt="module=$module,$map" chronos/v1/run.proto chronos/v1/prediction.proto chronos/v1/coordinator.proto
# run.proto has no service, and early releases of this plugin refuse its optional fields.
protoc --proto_path="$protos" \
    --go-grpc_out=. --go-grpc_opt="module=$module,$map" chronos/v1/coordinator.proto
