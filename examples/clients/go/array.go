package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
)

// An array is a named vector of float64: the only kind that this client's run has. Payloads and digests of other
// dtypes, shapes and encodings are described in docs/wire-format.md, and read by the Node client.
type array struct {
	name   string
	values []float64
}

const (
	headerBytes   = 16
	codecIdentity = 1
	revision      = 1
	dtypeFloat64  = 2
)

// encode returns the identity payload of the array: there is exactly one.
func (a array) encode() []byte {
	var body bytes.Buffer
	little(&body, uint32(1), uint32(0)) // one array; zero
	little(&body, uint8(dtypeFloat64), uint8(1), uint16(len(a.name)), uint32(0), uint64(len(a.values)))
	body.WriteString(a.name)
	body.Write(make([]byte, padding(len(a.name))))
	little(&body, a.values)

	payload := make([]byte, headerBytes, headerBytes+body.Len())
	copy(payload, []byte{'C', 'H', codecIdentity, revision})
	binary.LittleEndian.PutUint64(payload[8:], uint64(body.Len()))
	payload = append(payload, body.Bytes()...)
	binary.LittleEndian.PutUint32(payload[4:], checksum(payload))
	return payload
}

// decode reads a payload that must hold the array `name` with `size` values. Since identity has exactly one encoding
// of given arrays, whatever differs from it in a byte beside the values is refused.
func decode(payload []byte, name string, size int) (array, error) {
	wanted := array{name, make([]float64, size)}
	like := wanted.encode()
	if len(payload) < headerBytes || string(payload[:2]) != "CH" {
		return array{}, &payloadError{"MALFORMED_PAYLOAD", "not a Chronos payload"}
	}
	if payload[2] != codecIdentity || payload[3] != revision {
		text := fmt.Sprintf("codec id %d, revision %d; this client reads identity only", payload[2], payload[3])
		return array{}, &payloadError{"UNKNOWN_CODEC", text}
	}
	if len(payload) != len(like) || binary.LittleEndian.Uint32(payload[4:]) != checksum(payload) {
		return array{}, &payloadError{"MALFORMED_PAYLOAD", "the payload was cut, extended or damaged"}
	}
	start := len(like) - 8*size
	if !bytes.Equal(payload[8:start], like[8:start]) {
		return array{}, &payloadError{"SHAPE_MISMATCH", fmt.Sprintf("the payload does not hold %d float64 named %s", size, name)}
	}
	for i := range wanted.values {
		wanted.values[i] = math.Float64frombits(binary.LittleEndian.Uint64(payload[start+8*i:]))
	}
	return wanted, nil
}

// digest is SHA-256, in hexadecimal, over the canonical bytes of a version that consists of this array.
func (a array) digest() string {
	hash := sha256.New()
	hash.Write([]byte("chronos.arrays.v1\n"))
	little(hash, uint32(1))
	for _, text := range []string{a.name, "float64"} {
		little(hash, uint32(len(text)))
		hash.Write([]byte(text))
	}
	little(hash, uint32(1), uint64(len(a.values)), a.values)
	return hex.EncodeToString(hash.Sum(nil))
}

// checksum is the CRC-32 of a payload: its first four bytes, then everything from the length on.
func checksum(payload []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(payload[:4]), crc32.IEEETable, payload[8:])
}

func padding(length int) int { return (8 - length%8) % 8 }

// little writes numbers, or slices of them, in little-endian order to a buffer or a hash, which never fail.
func little(to interface{ Write([]byte) (int, error) }, values ...interface{}) {
	for _, value := range values {
		_ = binary.Write(to, binary.LittleEndian, value)
	}
}
