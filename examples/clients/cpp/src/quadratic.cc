#include "quadratic.h"

#include <algorithm>
#include <cmath>

namespace {
constexpr double kInnerRate = 0.8;  // hᵢ lies in 1..1.25, so that a step leaves a fifth of the error at most
}

Quadratic::Quadratic(size_t dimensions) : h_(dimensions), target_(dimensions), theta_(dimensions) {
  for (size_t i = 0; i < dimensions; ++i) {
    h_[i] = 1 + static_cast<double>(i % 5) / 16;
    target_[i] = (static_cast<double>(7 * i % 11) - 5) / 5;
  }
}

Update Quadratic::Work(const std::vector<double>& u, const std::function<bool()>& late) {
  int steps = 0;
  do {
    for (size_t i = 0; i < theta_.size(); ++i) theta_[i] -= kInnerRate * (h_[i] * theta_[i] - u[i]);
    ++steps;
  } while (steps < kInnerSteps && !late());
  Update update;
  update.work = static_cast<double>(steps) / kInnerSteps;
  for (size_t i = 0; i < theta_.size(); ++i) {
    const double off = theta_[i] - target_[i];
    update.gradient.push_back(off / h_[i]);
    update.outer_loss += off * off / 2;
  }
  return update;
}

double Quadratic::Distance(const std::vector<double>& u) const {
  double most = 0;
  for (size_t i = 0; i < u.size(); ++i) most = std::max(most, std::abs(u[i] - h_[i] * target_[i]));
  return most;
}
