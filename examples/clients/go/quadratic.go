package main

import "math"

// A quadratic is a problem in two levels whose minimum is known:
//
//	inner loss  ½ Σ hᵢ θᵢ² − uᵢ θᵢ     minimal at θᵢ = uᵢ / hᵢ
//	outer loss  ½ Σ (θᵢ − tᵢ)²          at the inner minimum; minimal at uᵢ = hᵢ tᵢ
//
// The hypergradient by implicit differentiation is (θᵢ − tᵢ) · dθᵢ/duᵢ = (θᵢ − tᵢ) / hᵢ.
type quadratic struct{ h, target, theta []float64 }

const (
	innerSteps = 20
	innerRate  = 0.8 // hᵢ lies in 1..1.25, so that a step leaves a fifth of the error at most
)

// An update is what a version led to; `work` is the share of the inner steps that was done.
type update struct {
	gradient        []float64
	work, outerLoss float64
}

func newQuadratic(dimensions int) *quadratic {
	q := &quadratic{make([]float64, dimensions), make([]float64, dimensions), make([]float64, dimensions)}
	for i := range q.h {
		q.h[i] = 1 + float64(i%5)/16
		q.target[i] = (float64(7*i%11) - 5) / 5
	}
	return q
}

// update takes inner steps from where the last ones ended, and at least one; once `late`, what was done is what counts.
func (q *quadratic) update(u []float64, late func() bool) update {
	steps := 0
	for steps == 0 || (steps < innerSteps && !late()) {
		for i := range q.theta {
			q.theta[i] -= innerRate * (q.h[i]*q.theta[i] - u[i])
		}
		steps++
	}
	found := update{gradient: make([]float64, len(u)), work: float64(steps) / innerSteps}
	for i, theta := range q.theta {
		off := theta - q.target[i]
		found.gradient[i] = off / q.h[i]
		found.outerLoss += off * off / 2
	}
	return found
}

// distance is the largest one of an outer parameter from the minimum.
func (q *quadratic) distance(u []float64) float64 {
	most := 0.0
	for i, value := range u {
		most = math.Max(most, math.Abs(value-q.h[i]*q.target[i]))
	}
	return most
}
