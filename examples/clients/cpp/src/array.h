// A named vector of float64, its payload and its digest: the only kind of array that this client's run has.
// Other dtypes, shapes and encodings are described in docs/wire-format.md, and read by the Node client.
#pragma once

#include <string>
#include <vector>

struct Array {
  std::string name;
  std::vector<double> values;

  // The identity payload: there is exactly one.
  std::string Encode() const;

  // SHA-256, in hexadecimal, over the canonical bytes of a version that consists of this array.
  std::string Digest() const;
};

// Reads a payload that must hold the array `name` with `size` values; throws PayloadError.
Array Decode(const std::string& payload, const std::string& name, size_t size);
