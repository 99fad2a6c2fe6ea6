// A problem in two levels whose minimum is known:
//
//   inner loss  ½ Σ hᵢ θᵢ² − uᵢ θᵢ     minimal at θᵢ = uᵢ / hᵢ
//   outer loss  ½ Σ (θᵢ − tᵢ)²          at the inner minimum; minimal at uᵢ = hᵢ tᵢ
//
// The hypergradient by implicit differentiation is (θᵢ − tᵢ) · dθᵢ/duᵢ = (θᵢ − tᵢ) / hᵢ.
#pragma once

#include <functional>
#include <vector>

// What a version led to; `work` is the share of the inner steps that was done.
struct Update {
  std::vector<double> gradient;
  double work = 0;
  double outer_loss = 0;
};

class Quadratic {
 public:
  static constexpr int kInnerSteps = 20;

  explicit Quadratic(size_t dimensions);

  // Takes inner steps from where the last ones ended, and at least one; once `late`, what was done is what counts.
  Update Work(const std::vector<double>& u, const std::function<bool()>& late);

  // The largest distance of an outer parameter from the minimum.
  double Distance(const std::vector<double>& u) const;

 private:
  std::vector<double> h_, target_, theta_;
};
