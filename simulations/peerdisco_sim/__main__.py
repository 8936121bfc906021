"""`python -m peerdisco_sim`: the same as `peerdisco simulate`."""

from peerdisco_sim.cli import simulate

if __name__ == "__main__":
    simulate(prog_name="peerdisco simulate")
