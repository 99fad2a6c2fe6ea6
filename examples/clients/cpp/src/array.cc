#include "array.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>

#include "failure.h"

namespace {

constexpr size_t kHeaderBytes = 16;
constexpr char kIdentity = 1;
constexpr char kRevision = 1;
constexpr uint8_t kFloat64 = 2;

// Appends a number in little-endian order, whatever the machine's own is.
template <typename Number>
void Append(std::string& bytes, Number number) {
  for (size_t i = 0; i < sizeof(Number); ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(number) >> (8 * i)));
  }
}

void Append(std::string& bytes, const std::vector<double>& values) {
  for (double value : values) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    Append(bytes, bits);
  }
}

uint64_t Read(const std::string& bytes, size_t at, size_t length) {
  uint64_t number = 0;
  for (size_t i = length; i-- > 0;) number = number << 8 | static_cast<uint8_t>(bytes[at + i]);
  return number;
}

// CRC-32 of the first four bytes, then of everything from the length on.
uint32_t Checksum(const std::string& payload) {
  const auto* bytes = reinterpret_cast<const Bytef*>(payload.data());
  const uLong start = crc32_z(crc32_z(0, nullptr, 0), bytes, 4);
  return static_cast<uint32_t>(crc32_z(start, bytes + 8, payload.size() - 8));
}

}  // namespace

std::string Array::Encode() const {
  std::string body;
  Append(body, uint32_t{1});  // arrays
  Append(body, uint32_t{0});
  Append(body, kFloat64);
  Append(body, uint8_t{1});  // dimensions
  Append(body, static_cast<uint16_t>(name.size()));
  Append(body, uint32_t{0});
  Append(body, static_cast<uint64_t>(values.size()));
  body += name;
  body.append((8 - name.size() % 8) % 8, '\0');
  Append(body, values);

  std::string payload{'C', 'H', kIdentity, kRevision};
  Append(payload, uint32_t{0});  // where the checksum goes
  Append(payload, static_cast<uint64_t>(body.size()));
  payload += body;
  std::string checksum;
  Append(checksum, Checksum(payload));
  return payload.replace(4, 4, checksum);
}

std::string Array::Digest() const {
  std::string bytes = "chronos.arrays.v1\n";
  Append(bytes, uint32_t{1});
  for (const std::string& text : {name, std::string("float64")}) {
    Append(bytes, static_cast<uint32_t>(text.size()));
    bytes += text;
  }
  Append(bytes, uint32_t{1});
  Append(bytes, static_cast<uint64_t>(values.size()));
  Append(bytes, values);

  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), hash, &length, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += "0123456789abcdef"[hash[i] >> 4];
    text += "0123456789abcdef"[hash[i] & 15];
  }
  return text;
}

Array Decode(const std::string& payload, const std::string& name, size_t size) {
  // Identity has exactly one encoding of given arrays: whatever differs beside the values is refused.
  Array array{name, std::vector<double>(size)};
  const std::string like = array.Encode();
  const size_t start = like.size() - 8 * size;
  if (payload.size() < kHeaderBytes || payload.compare(0, 2, "CH") != 0) {
    throw PayloadError("MALFORMED_PAYLOAD", "not a Chronos payload");
  }
  if (payload[2] != kIdentity || payload[3] != kRevision) {
    throw PayloadError("UNKNOWN_CODEC", "another codec or revision; this client reads identity only");
  }
  if (payload.size() != like.size() || Read(payload, 4, 4) != Checksum(payload)) {
    throw PayloadError("MALFORMED_PAYLOAD", "the payload was cut, extended or damaged");
  }
  if (payload.compare(8, start - 8, like, 8, start - 8) != 0) {
    throw PayloadError("SHAPE_MISMATCH", "the payload holds other arrays than the run's");
  }
  for (size_t i = 0; i < size; ++i) {
    const uint64_t bits = Read(payload, start + 8 * i, 8);
    std::memcpy(&array.values[i], &bits, sizeof bits);
  }
  return array;
}
