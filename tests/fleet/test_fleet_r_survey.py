"""Published examples to the last digit: the school samples of R's survey package (Lumley), estimated by both."""

import shutil
import subprocess

import pytest

SCRIPT = r"""
suppressMessages(library(survey)); data(api)
put <- function(name, sample, population) {
  write.csv(sample, paste0(name, ".csv"), row.names = FALSE)
  write.csv(population, paste0(name, "-population.csv"), row.names = FALSE)
}
say <- function(name, total, df)
  cat(name, format(c(coef(total), SE(total), df, deff(total), confint(total, df = df)), digits = 15), "\n")
strata <- svydesign(id = ~1, strata = ~stype, fpc = ~fpc, data = apistrat)
V <- sapply(c("E", "H", "M"), function(s) SE(svytotal(~enroll, subset(strata, stype == s)))^2)
n <- table(apistrat$stype)[c("E", "H", "M")]
say("stratified", svytotal(~enroll, strata, deff = TRUE), sum(V)^2 / sum(V^2 / (n - 1)))
known <- tapply(apipop$api99, apipop$stype, sum)[c("E", "H", "M")]
put("stratified", with(apistrat, data.frame(stratum = stype, host = snum, value = enroll, size = api99)),
    data.frame(stratum = c("E", "H", "M"), hosts = c(4421, 755, 1018), size = known))
ratio <- svyratio(~enroll, ~api99, strata)
whole <- predict(ratio, total = sum(known))
cat("ratio", format(c(whole$total, whole$se), digits = 15), "\n")
one <- svydesign(id = ~dnum, fpc = ~fpc, data = apiclus1)
say("cluster", svytotal(~enroll, one, deff = TRUE), degf(one))
put("cluster", with(apiclus1, data.frame(stratum = "a", host = dnum, unit = snum, value = enroll)),
    data.frame(stratum = "a", hosts = apiclus1$fpc[1]))
two <- svydesign(id = ~dnum + snum, fpc = ~fpc1 + fpc2, data = apiclus2)
say("two-stage", svytotal(~api00, two, deff = TRUE), degf(two))
put("two-stage", with(apiclus2, data.frame(stratum = "a", host = dnum, unit = snum, value = api00, units = fpc2)),
    data.frame(stratum = "a", hosts = apiclus2$fpc1[1]))
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """What R says, by method, and the folder of its files. R is an oracle: without it the others remain."""
    rscript = shutil.which("Rscript")
    probe = [rscript or "false", "-e", "library(survey)"]
    ready = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if not ready:
        pytest.skip("needs R with its survey package (Debian: r-cran-survey)")
    folder = tmp_path_factory.mktemp("survey")
    done = subprocess.run([rscript, "--vanilla", "-e", SCRIPT], cwd=folder, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if line]
    return {words[0]: [float(w) for w in words[1:]] for words in lines}, folder


@pytest.mark.real
def test_totals_errors_and_design_effects_are_those_of_r(fleet, survey):
    said, folder = survey
    # From the package's documentation: svytotal(~enroll, dstrat) is 3,687,178 with a standard error of 114,642.
    assert said["stratified"][:2] == pytest.approx([3687178, 114642], abs=0.5)
    for method in ("stratified", "cluster", "two-stage"):
        words = ("--sample", folder / f"{method}.csv", "--population", folder / f"{method}-population.csv")
        found = fleet("estimate", *words, "--method", method, "--interval", "t", "--json").json
        ours = [found[key] for key in ("total", "se", "df", "deff", "lower", "upper")]
        assert ours == pytest.approx(said[method], rel=1e-9)


@pytest.mark.real
def test_the_ratio_is_that_of_r(fleet, survey):
    said, folder = survey
    words = ("--sample", folder / "stratified.csv", "--population", folder / "stratified-population.csv")
    found = fleet("estimate", *words, "--method", "ratio", "--json").json
    assert [found["total"], found["se"]] == pytest.approx(said["ratio"], rel=1e-9)
