import sys
from peerdisco import Job, result_iterator

def map(line, params):
    for word in line.split():
        yield word, 1

def reduce(iter, params):
    from peerdisco.util import kvgroup
    for word, counts in kvgroup(sorted(iter)):
        yield word, sum(counts)

if __name__ == '__main__':
    job = Job().run(input=sys.argv[1:] or [__file__], map=map, reduce=reduce)
    for word, count in result_iterator(job.wait(show=True)):
        print(word, count)
