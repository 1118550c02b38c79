def replicas_needed(work, seconds, busy, growth=1.0, spare=0):
    share = max(each / seconds for each in work) * growth
    number = 1
    while share * len(work) / number > busy:
        number += 1
    return number + spare
